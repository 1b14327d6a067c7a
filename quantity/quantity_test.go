package quantity

import (
	"flag"
	"io"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "104857600": 100 << 20, "-1": -1, "1e9": 1_000_000_000,
		"64Ki": 64 << 10, "800Mi": 800 << 20, "1Gi": 1 << 30, "2Ti": 2 << 40, "0.5Gi": 512 << 20, "1.5Gi": 1536 << 20,
		"1k": 1000, "1M": 1_000_000, "1G": 1_000_000_000, "9223372036854775806": 1<<63 - 2,
	} {
		if got, err := Parse(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, suggestion := range map[string]string{
		"1GB": "1Gi", "1gb": "1Gi", "1GiB": "1Gi", "800MB": "800Mi", "800MiB": "800Mi", "800 Mi": "800Mi", "800mb": "800Mi", " 1Gi ": "1Gi",
		"1g": "1Gi", "64K": "64Ki", "64KB": "64Ki", "64kb": "64Ki", "100m": "100Mi", "0.5GB": "0.5Gi", "512B": "512", "512 bytes": "512",
		"1_000_000": "1000000", "1,000,000": "1000000",
		"": "", "Gi": "", "ten": "", "0x10": "", "0.5": "", "1.0000000001Gi": "", "9223372036854775807": "", "9223372036854775808": "", "99999999Ei": "", "1Gi2": "", "NaN": "", "1GB 2GB": "",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), "800Mi or 1Gi") {
			t.Errorf("%q: got error %v", text, err)
			continue
		}
		_, got, _ := strings.Cut(err.Error(), "did you mean ")
		if got = strings.TrimSuffix(got, "?"); got != suggestion {
			t.Errorf("%q: suggests %q, want %q", text, got, suggestion)
		}
		if suggestion != "" {
			if _, err := Parse(suggestion); err != nil {
				t.Errorf("%q: the suggestion %q is refused too: %v", text, suggestion, err)
			}
		}
	}
}

func TestFlag(t *testing.T) {
	t.Parallel()
	var size, none int64
	var help strings.Builder
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(&help)
	flags.Var(Value(&size, 100<<20), "size", "how much")
	flags.Var(Value(&none, 0), "none", "no default")
	if flags.PrintDefaults(); !strings.Contains(help.String(), "(default 100Mi)") || strings.Count(help.String(), "(default") != 1 {
		t.Errorf("help:\n%s", help.String())
	}
	flags.SetOutput(io.Discard)
	if err := flags.Parse([]string{"--size=1.5Gi", "--none=7"}); err != nil || size != 1536<<20 || none != 7 {
		t.Errorf("got %d and %d, %v", size, none, err)
	}
	if err := flags.Parse([]string{"--size=1GB"}); err == nil || !strings.Contains(err.Error(), "did you mean 1Gi?") || size != 1536<<20 {
		t.Errorf("got %d, %v", size, err)
	}
}
