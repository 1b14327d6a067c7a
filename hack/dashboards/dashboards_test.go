package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Grafana knows every field of every dashboard, and each value is one that the field may have.
func TestDashboardsAreValid(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	for name, builder := range all() {
		text, err := encode(builder)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var decoded dashboard.Dashboard
		var faults cog.BuildErrors
		err = decoded.UnmarshalJSONStrict(text)
		if errors.As(err, &faults) && len(faults) == 0 { // what the SDK returns for no fault
			err = nil
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := decoded.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The dashboards in the chart are the generated ones, and there are no others.
func TestDashboardsInTheChartAreGenerated(t *testing.T) {
	const folder = "../../charts/mandrill-operator/files/dashboards/"
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != len(all()) {
		t.Fatalf("%d dashboards in the chart, want %d: %v", len(entries), len(all()), err)
	}
	for name, builder := range all() {
		want, err := encode(builder)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(folder + name + ".json"); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s.json is out of date (%v): run make generate", name, err)
		}
	}
}

// Each dashboard has a uid, each panel says what it shows, and no two panels of a dashboard have the same place.
func TestPanelsAreDescribed(t *testing.T) {
	for name, builder := range all() {
		text, err := encode(builder)
		if err != nil {
			t.Fatal(err)
		}
		var decoded struct {
			UID    string
			Panels []struct {
				Type, Title, Description string
				GridPos                  struct{ X, Y, W, H int }
				Targets                  []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(text, &decoded); err != nil {
			t.Fatal(err)
		}
		if decoded.UID != "mandrill-"+name {
			t.Errorf("%s has the uid %q", name, decoded.UID)
		}
		for i, panel := range decoded.Panels {
			if panel.Title == "" || panel.Type != "row" && (panel.Description == "" || len(panel.Targets) == 0) {
				t.Errorf("%s: panel %d (%s) has no title, description or target", name, i, panel.Title)
			}
			a := panel.GridPos
			if a.X+a.W > 24 {
				t.Errorf("%s: the panel %s does not fit into the grid", name, panel.Title)
			}
			for _, other := range decoded.Panels[:i] {
				b := other.GridPos
				if a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
					t.Errorf("%s: the panels %s and %s overlap", name, other.Title, panel.Title)
				}
			}
		}
	}
}
