package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"regexp"

	form "github.com/mandrill-operator/mandrill-operator/api/reports"
)

const (
	maxName = 253
	maxID   = 128
	// maxAge bounds ages, so that no arithmetic with them overflows. No process is that old.
	maxAge = 10 * 365 * 24 * 3600
	// maxStatus bounds the status of an answer.
	maxStatus = 999
)

// envelope is a report whose webhooks are not decoded yet: a megabyte of empty ones would take a hundred times its size.
type envelope struct {
	form.Report

	Webhooks json.RawMessage `json:"webhooks"`
}

// decode reads one report. It returns an error for one that is malformed as a whole; see [Valid] for its webhooks.
func decode(body io.Reader) (*form.Report, error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return nil, readError(err)
	}
	var read envelope
	if err := json.Unmarshal(data, &read); err != nil {
		return nil, errMalformed
	}
	report := &read.Report
	switch {
	case report.Version < 1:
		return nil, errMalformed
	case report.Version > form.Version:
		return nil, fmt.Errorf("%w: it is %d, and this operator knows %d", errVersion, report.Version, form.Version)
	case !isName(report.Receiver, maxName) || !isName(report.Instance, maxID) || !validBuffer(report.Buffer):
		return nil, errMalformed
	}
	report.Webhooks, err = decodeWebhooks(read.Webhooks)
	return report, err
}

// decodeWebhooks decodes up to form.MaxWebhooks webhooks.
func decodeWebhooks(data json.RawMessage) ([]form.Webhook, error) {
	if len(data) == 0 || string(data) == "null" {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	if token, err := decoder.Token(); err != nil || token != json.Delim('[') {
		return nil, errMalformed
	}
	var list []form.Webhook
	for decoder.More() {
		if len(list) == form.MaxWebhooks {
			return nil, errTooLarge
		}
		var webhook form.Webhook
		if err := decoder.Decode(&webhook); err != nil {
			return nil, errMalformed
		}
		list = append(list, webhook)
	}
	return list, nil
}

var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func isName(text string, longest int) bool { return len(text) <= longest && names.MatchString(text) }

func validBuffer(buffer *form.Buffer) bool {
	return buffer == nil || buffer.ID != "" && len(buffer.ID) <= maxID && buffer.UsedBytes >= 0 && buffer.MaxBytes >= 0
}

// Valid reports whether what a report says about a webhook is possible.
func Valid(webhook *form.Webhook) bool {
	for _, count := range []int64{webhook.WaitingEvents, webhook.WaitingBytes, webhook.DeadLetters, webhook.LostMessages} {
		if count < 0 {
			return false
		}
	}
	for _, age := range []*float64{
		webhook.OldestWaitingAge, webhook.LastReceivedAge, webhook.LastDeliveredAge, webhook.FailingFor, webhook.LastBadSignatureAge,
	} {
		if age != nil && !validAge(*age) {
			return false
		}
	}
	failure := webhook.Failure
	return failure == nil || validAge(failure.Age) && failure.Status >= 0 && failure.Status <= maxStatus
}

func validAge(age float64) bool { return !math.IsNaN(age) && age >= 0 && age <= maxAge }
