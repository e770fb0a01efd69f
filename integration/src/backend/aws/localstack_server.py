"""LocalStack's KMS behind a server that listens on 127.0.0.1 only: its own binds every interface whatever it is told.

The first line on stdout is `listening PORT`. It ends when its stdin is closed.
"""

import os
import sys
import threading

from localstack.aws.app import LocalstackAwsGateway
from rolo.gateway.wsgi import WsgiGateway
from werkzeug.serving import WSGIRequestHandler, make_server


class Handler(WSGIRequestHandler):
    def log(self, *_):
        pass


def main():
    gateway = WsgiGateway(LocalstackAwsGateway())
    server = make_server("127.0.0.1", 0, gateway, threaded=True, request_handler=Handler)
    print(f"listening {server.server_port}", flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
