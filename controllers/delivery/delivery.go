package delivery

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/reports"
)

// Options configures a [Delivery]. All except Alerts, Objects, Timing and Now are required.
type Options struct {
	Client          client.Client
	Recorder        events.EventRecorder
	Registerer      prometheus.Registerer
	Elected         <-chan struct{}                      // closed when this operator becomes the leader
	Handles         func(*v1alpha1.MandrillWebhook) bool // whether an object is the installation's
	SharedReceivers []string                             // ServiceAccounts of the shared receivers, NAMESPACE/NAME
	Resync          time.Duration                        // how often each account is listed
	// BadSignature is called for an object that got a batch with a bad signature. It must not block.
	BadSignature func(types.NamespacedName)
	Alerts       Alerts   // optional
	Objects      *Objects // optional: those that Alerts looks at too
	Timing       Timing
	Now          func() time.Time
}

// Alerts says whether the alert sink of an object is ready. [alerts.Alerter] does. Without a status the condition stays as it is.
type Alerts interface {
	Condition(object *v1alpha1.MandrillWebhook) (status metav1.ConditionStatus, reason, message string)
}

// Delivery takes the reports of receivers, and shows them in the status of objects.
type Delivery struct {
	Objects *Objects
	Store   *Store
	Writer  *Writer
	handler http.Handler
}

// New joins the parts.
func New(options Options) *Delivery {
	if options.Now == nil {
		options.Now = time.Now
	}
	counters := reports.NewMetrics(options.Registerer)
	if options.Objects == nil {
		options.Objects = &Objects{}
	}
	d := &Delivery{Objects: options.Objects}
	d.Store = NewStore(StoreOptions{
		Objects: d.Objects, Handles: options.Handles, Shared: options.SharedReceivers, Metrics: counters,
		BadSignature: options.BadSignature, Timing: options.Timing, Now: options.Now,
	})
	d.Writer = NewWriter(WriterOptions{
		Client: options.Client, Recorder: controllers.Distinct(options.Recorder), Objects: d.Objects, Store: d.Store, Handles: options.Handles,
		Alerts: options.Alerts, Resync: options.Resync, Metrics: NewMetrics(options.Registerer), Timing: options.Timing, Now: options.Now,
	})
	options.Registerer.MustRegister(Collector{Objects: d.Objects, Handles: options.Handles, Store: d.Store, Elected: options.Elected})
	d.handler = reports.NewHandler(reports.Options{
		Elected: options.Elected, Reviews: reports.NewReviews(options.Client, counters, options.Now), Taker: d.Store, Metrics: counters, Now: options.Now,
	})
	return d
}

// SetupWithManager makes the manager run the writer on the leader.
func (d *Delivery) SetupWithManager(ctx context.Context, manager ctrl.Manager) error {
	if err := d.Objects.Follow(ctx, manager.GetCache()); err != nil {
		return err
	}
	if err := manager.Add(d.Writer); err != nil {
		return fmt.Errorf("adding the writer of what receivers report: %w", err)
	}
	return nil
}

// ServeHTTP takes reports, see [reports.Handler].
func (d *Delivery) ServeHTTP(w http.ResponseWriter, r *http.Request) { d.handler.ServeHTTP(w, r) }
