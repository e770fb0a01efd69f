package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/notaryproject/notation-plugin-framework-go/plugin"
)

// payloadChanges alter the payload before it is signed, so that the envelope itself is sound.
var payloadChanges = map[string]func(payload, artifact map[string]any){
	"digest":            func(_, artifact map[string]any) { artifact["digest"] = "sha256:" + strings.Repeat("0", 64) },
	"mediatype":         func(_, artifact map[string]any) { artifact["mediaType"] = "application/vnd.example.other" },
	"size":              func(_, artifact map[string]any) { artifact["size"] = 1 },
	"annotation-added":  func(_, artifact map[string]any) { annotations(artifact)["added"] = "by the plugin" },
	"annotation-edited": editAnnotations,
	// Of the plugin contract: a plugin may add annotations but not drop or replace any.
	"annotation-dropped": func(_, artifact map[string]any) { delete(artifact, "annotations") },
	"extra-attribute":    func(_, artifact map[string]any) { artifact["unknown"] = "attribute" },
	"extra-member":       func(payload, _ map[string]any) { payload["unknown"] = "member" },
}

// requestChanges alter what is asked of the envelope library.
var requestChanges = map[string]func(*order){
	"payload-type": func(o *order) { o.sign.Payload.ContentType = "application/json" },
	// The asked duration is not honoured: an hour is added, or to none at all.
	"expiry": func(o *order) {
		if o.sign.Expiry.IsZero() {
			o.sign.Expiry = o.sign.SigningTime
		}
		o.sign.Expiry = o.sign.Expiry.Add(time.Hour)
	},
	"expiry-dropped": func(o *order) { o.sign.Expiry = time.Time{} },
	"future": func(o *order) {
		o.sign.SigningTime = o.sign.SigningTime.Add(time.Hour)
		if !o.sign.Expiry.IsZero() {
			o.sign.Expiry = o.sign.Expiry.Add(time.Hour)
		}
	},
	// The response names the asked type, the bytes are of the other.
	"other-format": func(o *order) { o.envelopeType = otherType(o.envelopeType) },
}

// responseChanges alter the finished response.
var responseChanges = map[string]func(*plugin.GenerateEnvelopeResponse) error{
	"envelope-type": func(r *plugin.GenerateEnvelopeResponse) error {
		r.SignatureEnvelopeType = otherType(r.SignatureEnvelopeType)
		return nil
	},
	"bad-signature": flipSignature,
	"truncated": func(r *plugin.GenerateEnvelopeResponse) error {
		r.SignatureEnvelope = r.SignatureEnvelope[:len(r.SignatureEnvelope)/2]
		return nil
	},
	"empty": func(r *plugin.GenerateEnvelopeResponse) error {
		r.SignatureEnvelope = nil
		return nil
	},
	"trailing": func(r *plugin.GenerateEnvelopeResponse) error {
		r.SignatureEnvelope = append(r.SignatureEnvelope, "{}"...)
		return nil
	},
	// The annotation the host writes itself.
	"reserved-annotation": func(r *plugin.GenerateEnvelopeResponse) error {
		r.Annotations["io.cncf.notary.x509chain.thumbprint#S256"] = `["00"]`
		return nil
	},
}

func known(rule string) bool { return slices.Contains(rules(), rule) }

func rules() []string {
	var names []string
	for name := range payloadChanges {
		names = append(names, name)
	}
	for name := range requestChanges {
		names = append(names, name)
	}
	for name := range responseChanges {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func tamperBefore(rule string, order *order) error {
	if change, ok := requestChanges[rule]; ok {
		change(order)
	}
	change, ok := payloadChanges[rule]
	if !ok {
		return nil
	}
	var payload map[string]any
	if err := json.Unmarshal(order.sign.Payload.Content, &payload); err != nil {
		return err
	}
	artifact, ok := payload["targetArtifact"].(map[string]any)
	if !ok {
		return errors.New("the payload has no targetArtifact")
	}
	change(payload, artifact)
	changed, err := json.Marshal(payload)
	order.sign.Payload.Content = changed
	return err
}

func tamperAfter(rule string, response *plugin.GenerateEnvelopeResponse) error {
	if change, ok := responseChanges[rule]; ok {
		return change(response)
	}
	return nil
}

func annotations(artifact map[string]any) map[string]any {
	existing, ok := artifact["annotations"].(map[string]any)
	if !ok {
		existing = map[string]any{}
		artifact["annotations"] = existing
	}
	return existing
}

func editAnnotations(_, artifact map[string]any) {
	for name := range annotations(artifact) {
		annotations(artifact)[name] = "replaced by the plugin"
	}
}

func otherType(mediaType string) string {
	if mediaType == jws.MediaTypeEnvelope {
		return cose.MediaTypeEnvelope
	}
	return jws.MediaTypeEnvelope
}

// flipSignature changes one bit of the signature and leaves everything else as it was.
func flipSignature(response *plugin.GenerateEnvelopeResponse) error {
	if response.SignatureEnvelopeType == cose.MediaTypeEnvelope {
		// The signature is the last element of COSE_Sign1 (RFC 9052 section 4.2).
		response.SignatureEnvelope[len(response.SignatureEnvelope)-1] ^= 1
		return nil
	}
	var envelope map[string]json.RawMessage
	if err := json.Unmarshal(response.SignatureEnvelope, &envelope); err != nil {
		return err
	}
	var encoded string
	if err := json.Unmarshal(envelope["signature"], &encoded); err != nil {
		return err
	}
	raw, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || len(raw) == 0 {
		return fmt.Errorf("the signature is not base64url: %v", err)
	}
	raw[len(raw)-1] ^= 1
	if envelope["signature"], err = json.Marshal(base64.RawURLEncoding.EncodeToString(raw)); err != nil {
		return err
	}
	response.SignatureEnvelope, err = json.Marshal(envelope)
	return err
}
