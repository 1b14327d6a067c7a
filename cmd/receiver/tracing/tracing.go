// Package tracing exports the traces of the receiver, as the variables of OpenTelemetry say.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/go-logr/logr/funcr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/mandrill-operator/mandrill-operator/receiver/sink"
)

// lastTraces bounds the export of the last spans when the receiver stops.
const lastTraces = 5 * time.Second

// Wanted reports whether the standard variables of OpenTelemetry ask for traces. Unsupported values are ignored with a
// warning, as the specification demands: traces must not prevent the delivery of events.
func Wanted(getenv func(string) string, logger *slog.Logger) bool {
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	wanted := getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
	switch getenv("OTEL_TRACES_EXPORTER") {
	case "":
	case "otlp":
		wanted = true
	case "none":
		return false
	default:
		logger.Warn("Ignored a variable of OpenTelemetry", "variable", "OTEL_TRACES_EXPORTER", "write", "otlp or none")
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"} {
		if protocol := getenv(name); wanted && protocol != "" && protocol != "http/protobuf" {
			logger.Warn("Ignored a variable of OpenTelemetry", "variable", name, "write", "http/protobuf, and an endpoint that speaks it")
		}
	}
	return wanted
}

// New returns a provider that exports traces by OTLP over HTTP, or nil if the environment asks for none. The exporter,
// the sampler and the resource read the standard variables themselves.
func New(ctx context.Context, getenv func(string) string, logger *slog.Logger) (*sdktrace.TracerProvider, error) {
	if !Wanted(getenv, logger) {
		return nil, nil
	}
	// The messages of the library quote addresses and values of variables, such as headers with tokens.
	otel.SetLogger(funcr.New(func(string, string) {
		logger.Warn("Could not read a variable of OpenTelemetry, its default is used")
	}, funcr.Options{}))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		logger.Warn("Could not export traces", "error", traceFault(err))
	}))
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing traces: %w", sink.WithoutAddress(err))
	}
	// The environment comes last and takes precedence. Process attributes are left out, because arguments name files.
	attributes, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "mandrill-receiver")), resource.WithFromEnv())
	if err != nil {
		logger.Warn("Ignored a variable of OpenTelemetry", "variable", "OTEL_RESOURCE_ATTRIBUTES", "write", "comma-separated key=value")
	}
	logger.Info("Sending traces")
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(attributes)), nil
}

var collectorStatus = regexp.MustCompile(`: ([1-5][0-9]{2}) [A-Z]`)

// traceFault returns a text for an error of the exporter without addresses, variables or answers of the collector.
func traceFault(err error) string {
	var network net.Error
	if found := collectorStatus.FindStringSubmatch(err.Error()); found != nil {
		return "the collector answered with status " + found[1]
	} else if errors.As(err, &network) {
		return sink.WithoutAddress(err).Error()
	}
	return "unknown: check the OTEL_ variables and the collector"
}

// Flush exports the last spans.
func Flush(ctx context.Context, traces *sdktrace.TracerProvider, logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastTraces)
	defer cancel()
	if err := traces.Shutdown(ctx); err != nil {
		logger.Warn("Could not send the last traces", "error", traceFault(err))
	}
}
