// Generates the Grafana dashboards. Apart from the product, which does not need the SDK.
module github.com/mandrill-operator/mandrill-operator/hack/dashboards

go 1.26.0

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
