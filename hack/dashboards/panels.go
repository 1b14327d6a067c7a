package main

import (
	"fmt"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// Units, as Grafana names them.
const (
	count      = "short"
	perSecond  = "cps"
	seconds    = "s"
	size       = "bytes"
	percent    = "percentunit"
	unixMillis = "dateTimeFromNow"
)

// Widths of panels in a grid of 24.
const (
	quarter = 6
	third   = 8
	half    = 12
	full    = 24
)

// query is an expression of PromQL and the name of its series. METRIC{} in it gets the filter of the dashboard's variables.
type query struct{ expr, legend string }

var source = common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}

// filters of the dashboards. A series without the label namespace passes when all namespaces are selected.
const (
	byNamespace = `namespace=~"$namespace"`
	byWebhook   = `namespace=~"$namespace", webhook=~"$webhook"`
)

// filtered puts a filter into METRIC{} and METRIC{label="value"}.
func filtered(expr, filter string) string {
	expr = strings.ReplaceAll(expr, "{", "{"+filter+", ")
	return strings.ReplaceAll(expr, ", }", "}")
}

// builder makes the panels of one dashboard.
type builder struct {
	*dashboard.DashboardBuilder
	filter string
}

// newDashboard returns a dashboard with the variables that all have.
func newDashboard(uid, title, description, filter string) builder {
	return builder{filter: filter, DashboardBuilder: dashboard.NewDashboardBuilder(title).
		Uid("mandrill-"+uid).Description(description).Tags([]string{"mandrill"}).
		Refresh("30s").Time("now-6h", "now").Timezone("browser").Tooltip(dashboard.DashboardCursorSyncCrosshair).
		Link(dashboard.NewDashboardLinkBuilder("Mandrill").Type(dashboard.DashboardLinkTypeDashboards).
			Tags([]string{"mandrill"}).AsDropdown(true).IncludeVars(true).KeepTime(true)).
		WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus")).
		WithVariable(valuesOf("namespace", "Namespace", `label_values({__name__=~"mandrill_receiver_routes|mandrill_operator_webhooks"}, namespace)`).
			IncludeAll(true).AllValue(".*").Multi(true).Current(dashboard.VariableOption{
			Selected: cog.ToPtr(true), Text: dashboard.StringOrArrayOfString{String: cog.ToPtr("All")}, Value: dashboard.StringOrArrayOfString{String: cog.ToPtr("$__all")},
		}))}
}

// valuesOf returns a variable with the values of a label.
func valuesOf(name, label, query string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source).
		Query(dashboard.StringOrMap{String: &query}).Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc)
}

// row begins a row of panels.
func (b builder) row(title string) { b.WithRow(dashboard.NewRowBuilder(title)) }

// number shows the present value of an expression. It is green below the first step.
func (b builder) number(title, description, unit, expr string, steps ...dashboard.Threshold) {
	b.WithPanel(stat.NewPanelBuilder().Title(title).Description(description).Datasource(source).Height(4).Span(4).Unit(unit).NoValue("–").
		Thresholds(dashboard.NewThresholdsConfigBuilder().Mode(dashboard.ThresholdsModeAbsolute).Steps(append([]dashboard.Threshold{{Color: "green"}}, steps...))).
		ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).
		ColorMode(common.BigValueColorModeValue).GraphMode(common.BigValueGraphModeNone).
		WithTarget(b.target(0, query{expr, ""}).Instant()))
}

// from returns the step of a threshold.
func from(value float64, color string) dashboard.Threshold {
	return dashboard.Threshold{Value: &value, Color: color}
}

// lines shows expressions over time.
func (b builder) lines(title, description, unit string, width uint32, queries ...query) {
	panel := timeseries.NewPanelBuilder().Title(title).Description(description).Datasource(source).Height(8).Span(width).Unit(unit).Min(0).
		LineWidth(1).FillOpacity(10).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending))
	for i, q := range queries {
		panel.WithTarget(b.target(i, q).Range())
	}
	b.WithPanel(panel)
}

// column is a column of a table: its name, its unit, and what gives its values by the key of the row. Values may have names.
type column struct {
	name, unit, expr string
	names            map[string]string
}

// properties returns how the values of a column are shown.
func (c column) properties() []dashboard.DynamicConfigValue {
	properties := []dashboard.DynamicConfigValue{{Id: "unit", Value: c.unit}}
	if c.names != nil {
		options := map[string]any{}
		for value, name := range c.names {
			options[value] = map[string]any{"text": name}
		}
		properties = append(properties, dashboard.DynamicConfigValue{Id: "mappings", Value: []any{map[string]any{"type": "value", "options": options}}})
	}
	return properties
}

// rows shows a table with a row for each value of the labels that the expressions of all columns are grouped by.
func (b builder) rows(title, description string, width uint32, link string, columns ...column) {
	panel := table.NewPanelBuilder().Title(title).Description(description).Datasource(source).Height(9).Span(width).
		Footer(common.NewTableFooterOptionsBuilder().Show(false).Reducer([]string{"sum"})). // Grafana requires one, although it is not shown
		WithTransformation(dashboard.DataTransformerConfig{Id: "merge", Options: map[string]any{}})
	renamed := map[string]any{}
	for i, c := range columns {
		panel.WithTarget(b.target(i, query{c.expr, ""}).Instant().Format(prometheus.PromQueryFormatTable))
		renamed["Value #"+refID(i)] = c.name
		panel.OverrideByName(c.name, c.properties())
	}
	if len(columns) == 1 {
		renamed["Value"] = columns[0].name
	}
	panel.WithTransformation(dashboard.DataTransformerConfig{Id: "organize", Options: map[string]any{
		"excludeByName": map[string]any{"Time": true}, "renameByName": renamed,
	}})
	if link != "" {
		panel.OverrideByName("webhook", []dashboard.DynamicConfigValue{{Id: "links", Value: []any{map[string]any{
			"title": "Show ${__value.raw}", "url": link,
		}}}})
	}
	b.WithPanel(panel)
}

func refID(i int) string { return fmt.Sprintf("%c", 'A'+i) }

func (b builder) target(i int, q query) *prometheus.DataqueryBuilder {
	return prometheus.NewDataqueryBuilder().RefId(refID(i)).Datasource(source).Expr(filtered(q.expr, b.filter)).LegendFormat(q.legend)
}

// quantiles returns the median and the high quantiles of a histogram.
func quantiles(histogram string) (queries []query) {
	for _, q := range []string{"0.5", "0.95", "0.99"} {
		queries = append(queries, query{fmt.Sprintf("histogram_quantile(%s, sum by (le) (rate(%s_bucket{}[$__rate_interval])))", q, histogram), q})
	}
	return queries
}
