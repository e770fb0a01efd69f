/* Signs in a loop through OpenSSL and libp11's engine: MODULE URI THREADS SECONDS, and the PIN in the environment.
 * RSASSA-PSS or ECDSA over a digest, as the plugin does. Prints what bench.rs calls Measured. */
#include <openssl/engine.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static EVP_PKEY *key;
static double until;

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what) {
    fprintf(stderr, "%s failed\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void *sign(void *made) {
    unsigned char digest[32] = {7}, signature[1024];
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    if (context == NULL || EVP_PKEY_sign_init(context) <= 0)
        fail("EVP_PKEY_sign_init");
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA &&
        (EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) <= 0 ||
         EVP_PKEY_CTX_set_rsa_pss_saltlen(context, 32) <= 0))
        fail("EVP_PKEY_CTX_set_rsa_padding");
    if (EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()) <= 0)
        fail("EVP_PKEY_CTX_set_signature_md");
    while (now(CLOCK_MONOTONIC) < until) {
        size_t len = sizeof signature;
        if (EVP_PKEY_sign(context, signature, &len, digest, sizeof digest) <= 0)
            fail("EVP_PKEY_sign");
        ++*(unsigned long *)made;
    }
    EVP_PKEY_CTX_free(context);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 5 || getenv("PIN") == NULL)
        return 2;
    ENGINE *engine = ENGINE_by_id("pkcs11");
    if (engine == NULL || !ENGINE_ctrl_cmd_string(engine, "MODULE_PATH", argv[1], 0) ||
        !ENGINE_ctrl_cmd_string(engine, "PIN", getenv("PIN"), 0) || !ENGINE_init(engine))
        fail("the engine pkcs11");
    key = ENGINE_load_private_key(engine, argv[2], NULL, NULL);
    if (key == NULL)
        fail("ENGINE_load_private_key");
    int count = atoi(argv[3]);
    pthread_t threads[64];
    unsigned long made[64][8] = {{0}}, sum = 0; /* each on a cache line of its own */
    if (count < 1 || count > 64)
        return 2;
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID), begun = now(CLOCK_MONOTONIC);
    until = begun + atof(argv[4]);
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, sign, made[i]) != 0)
            fail("pthread_create");
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        sum += made[i][0];
    }
    printf("{\"signatures\":%lu,\"seconds\":%f,\"cpu_seconds\":%f}\n", sum, now(CLOCK_MONOTONIC) - begun,
           now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}
