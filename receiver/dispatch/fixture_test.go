package dispatch_test

import (
	"bytes"
	"sync"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

const signingKey = "s3ntinel-signing-key"

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func attributesOfSpan(span tracetest.SpanStub) map[string]string {
	attributes := map[string]string{}
	for _, attribute := range span.Attributes {
		attributes[string(attribute.Key)] = attribute.Value.String()
	}
	return attributes
}
