// Package mandrillwebhook keeps Mandrill and the cluster in agreement with MandrillWebhooks.
//
// [Reconciler.Reconcile] runs the steps of an object in order; each step is a file of its own. Their collaborators are the
// publisher, which gives receivers their routes, the pool of package probe, which asks receivers whether they serve a URL, the
// resolver of package sinks, which finds the addresses of sinks, and the pool of package account, through which all calls
// to Mandrill go. The state is what the steps of one reconcile share. An object that is deleted is finalized instead.
package mandrillwebhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/mandrill-operator/mandrill-operator/api/v1alpha1"
	"github.com/mandrill-operator/mandrill-operator/controllers"
	"github.com/mandrill-operator/mandrill-operator/controllers/account"
	"github.com/mandrill-operator/mandrill-operator/controllers/deletion"
	"github.com/mandrill-operator/mandrill-operator/controllers/fairqueue"
	"github.com/mandrill-operator/mandrill-operator/controllers/inbound"
	"github.com/mandrill-operator/mandrill-operator/controllers/metrics"
	"github.com/mandrill-operator/mandrill-operator/controllers/ownedsecrets"
	"github.com/mandrill-operator/mandrill-operator/controllers/probe"
	"github.com/mandrill-operator/mandrill-operator/controllers/progress"
	"github.com/mandrill-operator/mandrill-operator/controllers/publisher"
	"github.com/mandrill-operator/mandrill-operator/controllers/registration"
	"github.com/mandrill-operator/mandrill-operator/controllers/routestore"
	"github.com/mandrill-operator/mandrill-operator/controllers/scope"
	"github.com/mandrill-operator/mandrill-operator/controllers/sinks"
	"github.com/mandrill-operator/mandrill-operator/controllers/webhookurl"
)

const (
	// FieldOwner is the operator's name as a manager of fields.
	FieldOwner = client.FieldOwner("mandrill-operator")

	defaultClusterDomain = "cluster.local"
	// changedBuffer is how many changed objects a poll can report before it has to wait for the queue.
	changedBuffer = 1024
	// slowCall is above what calls take that Mandrill answers without asking a URL.
	slowCall = 2 * time.Second
)

// Options configures a [Reconciler]. Client, NewAPI, Recorder and RoutesSecret are required.
type Options struct {
	Client        client.Client
	NewAPI        func(apiKey string) (account.API, error)
	Recorder      events.EventRecorder
	Scope         scope.Scope          // which objects the installation handles; default: all without spec.installation
	Live          client.Reader        // reads what is not in the cache; default: nothing is
	RoutesSecret  types.NamespacedName // where the receiver reads its routes
	PublicURL     string               // prefix of default URLs; without it every object needs spec.url
	ReceiverURL   string               // where the operator reaches the receiver; default: the public URL itself
	ClusterDomain string               // default cluster.local
	RenameWindow  time.Duration        // how long a deleted object with a spec.url waits for one that takes its webhook over; default: not
	Resync        time.Duration        // how often each account is listed; default 5 minutes
	PollGap       time.Duration        // minimum time before a list that a bad signature brings forward; default 1 minute
	HTTPClient    *http.Client         // for probing the receiver
	Resolver      *net.Resolver        // for hosts that users name; default: the system's
	ProbeInterval time.Duration        // how often the receiver is asked for each URL that it serves; default 2 minutes
	Connected     probe.Connected      // called after probes; default: nothing is
	ProbeWait     time.Duration        // how long a reconcile waits for an answer of the receiver; default 100 ms
	SlowCall      time.Duration        // how long a call to Mandrill takes before the status says that it is made; default 2 seconds
	Metrics       *metrics.Metrics     // default: not exported
	Delivery      statusWriter         // writes into the status of objects too; default: nobody does

	AllowCrossNamespaceSinks bool     // sinks in another namespace than their object's
	SinkAudiences            []string // for which the shared receiver has OIDC tokens
	AllowSinkHosts           []string // hosts to allow although they are loopback, link-local or a metadata service
	Now                      func() time.Time

	MaxWebhooksPerNamespace   int // default: no limit
	MaxRouteBytesPerNamespace int // of the routes in the Secrets; default: no limit
}

// Reconciler reconciles MandrillWebhooks.
type Reconciler struct {
	Options
	urls      webhookurl.URLs
	secrets   ownedsecrets.Store
	publisher *publisher.Publisher
	probes    *probe.Pool
	atURLs    *probe.AtURLs
	queue     *fairqueue.Queue
	sinks     *sinks.Resolver
	watches   *sinks.Watches
	accounts  *account.Pool
	reenables registration.Reenables
	writes    registration.Budget
	spacer    registration.Spacer
	contests  registration.Contests
	handovers scope.Handovers
	outcomes  registration.Outcomes
	said      progress.Said
	deletions deletion.Memory
	orphans   registration.Orphans
	changed   chan event.GenericEvent // objects whose webhook at Mandrill, or whose receiver, changed
}

// New returns a reconciler.
func New(options Options) *Reconciler {
	options = withDefaults(options)
	options.Recorder = controllers.Distinct(options.Recorder)
	r := &Reconciler{
		Options: options,
		urls:    webhookurl.URLs{Public: options.PublicURL, Installation: options.Scope.Installation},
		secrets: ownedsecrets.Store{Client: options.Client, Owner: FieldOwner, Reserved: routestore.IsSecret(options.RoutesSecret)},
		watches: sinks.NewWatches(options.Client, sinkNames(options)),
		changed: make(chan event.GenericEvent, changedBuffer),
		queue:   fairqueue.New(shares),
	}
	r.contests.Interval = options.Resync
	r.publisher = &publisher.Publisher{RoutesSecret: options.RoutesSecret, Secrets: r.secrets, Shared: routestore.New(routestore.Options{
		Client: options.Client, Live: options.Live, Name: options.RoutesSecret, Owner: FieldOwner, Now: options.Now, Webhooks: publisher.Names(options.Client, options.Scope.Holds),
		NamespaceLimit: options.MaxRouteBytesPerNamespace,
	})}
	r.probes, r.atURLs = newProbes(options, r.urls, r.enqueue)
	r.sinks = sinks.New(sinks.Options{
		Client: options.Scope.Reader(options.Client, options.Live), Names: sinkNames(options), AllowCrossNamespace: options.AllowCrossNamespaceSinks,
		AllowHosts: options.AllowSinkHosts, Audiences: options.SinkAudiences,
	}, r.watches)
	r.accounts = account.NewPool(account.Options{
		NewAPI: options.NewAPI, Interval: options.Resync, Gap: options.PollGap, Now: options.Now, Changed: r.enqueue,
		Place: webhookurl.Place,
	})
	options.Metrics.Registerer.MustRegister(
		metrics.Overview{Objects: options.Client, Handles: options.Scope.Handles, Orphans: r.orphans.Count, Accounts: r.accounts}, fairqueue.Collect(r.queue))
	return r
}

func sinkNames(options Options) sinks.Names {
	return sinks.Names{Namespaces: options.Scope.Namespaces, ClusterDomain: options.ClusterDomain, Receiver: options.RoutesSecret.Namespace}
}

func withDefaults(options Options) Options {
	if options.ClusterDomain == "" {
		options.ClusterDomain = defaultClusterDomain
	}
	if options.Resync == 0 {
		options.Resync = account.DefaultInterval
	}
	if options.HTTPClient == nil {
		options.HTTPClient = &http.Client{
			Timeout:       probe.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if options.SlowCall == 0 {
		options.SlowCall = slowCall
	}
	if options.Metrics == nil {
		options.Metrics = metrics.New(prometheus.NewRegistry())
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return options
}

// Reconcile brings Mandrill and the cluster in line with one object, and writes its status once.
func (r *Reconciler) Reconcile(ctx context.Context, webhook *v1alpha1.MandrillWebhook) (ctrl.Result, error) {
	switch {
	case !r.Scope.Handles(webhook):
		return r.handOver(ctx, webhook)
	case !webhook.DeletionTimestamp.IsZero():
		return r.finalize(ctx, webhook)
	}
	r.handovers.Forget(webhook.UID)
	before := webhook.DeepCopy()
	if controllerutil.AddFinalizer(webhook, r.Scope.Finalizer()) {
		if err := r.Client.Patch(ctx, webhook, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			return retryConflict("adding the finalizer", err)
		}
	}
	run := newState(webhook)
	err := controllers.Run(ctx, run, run.conditions, r.steps(webhook)...)
	r.setConditions(run, err)
	webhook.Status.ObservedGeneration = webhook.Generation
	r.Metrics.Reconciled(err)
	if ctx.Err() == nil && controllers.ShouldWarn(err, run.found) { // otherwise the operator ends
		r.warn(webhook, controllers.Reason(err), err.Error())
	}
	progress.Settle(webhook.Status.Conditions, run.before.Status.Conditions)
	r.said.Set(webhook)
	if !equality.Semantic.DeepEqual(run.before.Status, webhook.Status) {
		if patchErr := r.patchStatus(ctx, run); patchErr != nil {
			return retryConflict("writing the status", patchErr)
		}
	} else if r.said.Overtaken(ctx, r.Client, webhook) {
		return ctrl.Result{RequeueAfter: conflictRetry}, nil
	}
	return r.result(run, err)
}

// setConditions sets the conditions that depend on several steps.
func (r *Reconciler) setConditions(run *state, err error) {
	webhook := run.webhook
	if err == nil && webhook.Spec.Inbound == nil {
		meta.RemoveStatusCondition(run.conditions.List, v1alpha1.ConditionInboundReady)
	}
	if err == nil && webhook.Spec.Suspend {
		run.conditions.Set(v1alpha1.ConditionReceiverReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended,
			"The receiver refuses batches, as spec.suspend says, and Mandrill keeps them for some hours")
	}
	if run.remark != (remark{}) && meta.IsStatusConditionTrue(*run.conditions.List, v1alpha1.ConditionRegistered) {
		run.conditions.Set(v1alpha1.ConditionRegistered, metav1.ConditionTrue, run.remark.reason, run.remark.message)
	}
	run.conditions.Summarise(err, v1alpha1.ConditionSinkProvided, v1alpha1.ConditionReceiverReady,
		v1alpha1.ConditionRegistered, v1alpha1.ConditionSigningKeyStored, v1alpha1.ConditionInboundReady)
}

// result says when to reconcile again.
func (r *Reconciler) result(run *state, err error) (ctrl.Result, error) {
	expiry := nextExpiry(run.retired, r.Now())
	result, err := controllers.Result(err)
	switch {
	case err == nil && result.IsZero():
		result.RequeueAfter = earliest(expiry, run.recheck())
	case errors.Is(err, reconcile.TerminalError(nil)) && expiry > 0: // identities expire whatever the user does
		return ctrl.Result{RequeueAfter: expiry}, nil
	}
	return result, err
}

// retryConflict makes the reconcile run again at once if the object was not the newest, and returns other errors.
func retryConflict(doing string, err error) (ctrl.Result, error) {
	if apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: conflictRetry}, nil
	}
	return ctrl.Result{}, fmt.Errorf("%s: %w", doing, err)
}

// raced makes a step run again at once if what it changed was not the newest.
func raced(err error) error {
	if err == nil || isStep(err) || !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return controllers.Waiting(v1alpha1.ReasonProgressing, conflictRetry, err)
}

// steps are the steps of an object's reconcile, in order.
func (r *Reconciler) steps(webhook *v1alpha1.MandrillWebhook) []controllers.Step[*state] {
	steps := []controllers.Step[*state]{
		{Condition: v1alpha1.ConditionSigningKeyStored, Run: r.storedKey},
		{Condition: v1alpha1.ConditionSinkProvided, Run: r.sink, Continue: true},
		{Condition: v1alpha1.ConditionReceiverReady, Run: r.route},
		{Condition: v1alpha1.ConditionRegistered, Run: r.credentials},
		{Condition: v1alpha1.ConditionSigningKeyStored, Run: r.restoredKey},
		{Condition: v1alpha1.ConditionRegistered, Run: r.registration},
		{Condition: v1alpha1.ConditionSigningKeyStored, Run: r.signingKey},
	}
	if webhook.Spec.Inbound != nil || inbound.MayExist(webhook) {
		steps = append(steps, controllers.Step[*state]{Condition: v1alpha1.ConditionInboundReady, Run: r.inbound})
	}
	for i := range steps {
		do := steps[i].Run
		steps[i].Run = func(ctx context.Context, run *state) error { return raced(do(ctx, run)) }
	}
	return steps
}

// earliest returns the shorter of two delays, where zero means never.
func earliest(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// KeyMayHaveChanged makes the account of an object be listed soon, at most once a minute: a receiver has got a batch for it with a
// bad signature.
func (r *Reconciler) KeyMayHaveChanged(object types.NamespacedName) { r.accounts.PollSoon(object) }

// normal and warn record Kubernetes Events. The message must hold nothing secret.
func (r *Reconciler) normal(webhook *v1alpha1.MandrillWebhook, reason, message string) {
	r.Recorder.Eventf(webhook, nil, corev1.EventTypeNormal, reason, "Reconcile", "%s", controllers.Truncate(message))
}

func (r *Reconciler) warn(webhook *v1alpha1.MandrillWebhook, reason, message string) {
	r.Recorder.Eventf(webhook, nil, corev1.EventTypeWarning, reason, "Reconcile", "%s", controllers.Truncate(message))
}
