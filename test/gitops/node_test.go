package gitops

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const system = "mandrill-operator-system"

// node runs the pods of the release as processes, with the arguments and the rights that they have in a cluster, and reports them as
// the controllers of a cluster do. It has no network of pods, so the programs listen and connect on loopback.
type node struct {
	cluster  *cluster
	receiver string // address of the receiver
	programs map[string]*program
	jobs     map[string]*program
	// stopping is called before the programs of a workload that was deleted end.
	stopping func(ctx context.Context, workload string)
}

// start runs the node until the test ends.
func (n *node) start(t *testing.T) {
	t.Helper()
	n.programs, n.jobs = map[string]*program{}, map[string]*program{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("the node:", err)
		}
		for _, p := range n.programs {
			p.stop()
		}
	})
}

func (n *node) run(ctx context.Context) error {
	for {
		// Others write to the same objects, and delete them.
		if err := n.sync(ctx); err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (n *node) sync(ctx context.Context) error {
	deployments, sets, jobs := &appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &batchv1.JobList{}
	for _, list := range []client.ObjectList{deployments, sets, jobs} {
		if err := n.cluster.client.List(ctx, list, client.InNamespace(system)); err != nil {
			return err
		}
	}
	wanted := map[string]bool{}
	for i := range deployments.Items {
		wanted[deployments.Items[i].Name] = true
		if err := n.deployment(ctx, &deployments.Items[i]); err != nil {
			return err
		}
	}
	for i := range sets.Items {
		wanted[sets.Items[i].Name] = true
		if err := n.statefulSet(ctx, &sets.Items[i]); err != nil {
			return err
		}
	}
	for name, p := range n.programs {
		if !wanted[name] {
			n.stopping(ctx, name)
			p.stop()
			delete(n.programs, name)
		}
	}
	for i := range jobs.Items {
		if err := n.job(ctx, &jobs.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

// pod runs the container of a pod.
func (n *node) pod(name string, spec corev1.PodSpec) (*program, error) {
	container := spec.Containers[0]
	kubeconfig, err := n.cluster.kubeconfig("system:serviceaccount:" + system + ":" + spec.ServiceAccountName)
	if err != nil {
		return nil, err
	}
	args := append(container.Args, "--kubeconfig="+kubeconfig)
	switch container.Name {
	case "operator":
		args = append(args, "--metrics-listen=0", "--health-listen=0", "--reports-listen=0")
	case "receiver":
		args = append(args, "--metrics-listen=127.0.0.1:0", "--listen="+n.receiver, "--shutdown-delay=0s", "--buffer-dir="+filepath.Join(n.cluster.folder, "buffer"))
	}
	executable, env := "operator", []string{}
	if container.Name == "receiver" {
		executable = "receiver"
	}
	for _, variable := range container.Env {
		env = append(env, variable.Name+"="+variable.Value)
	}
	return n.cluster.startProgram(name, filepath.Join(os.Getenv("GITOPS_PROGRAMS"), executable), env, args...)
}

// workload runs the pod of a workload, unless it runs.
func (n *node) workload(name string, template corev1.PodTemplateSpec) error {
	if n.programs[name] != nil {
		return nil
	}
	p, err := n.pod(name, template.Spec)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	n.programs[name] = p
	return nil
}

// deployment also writes the ReplicaSet, by which Helm recognises a Deployment that is up to date.
func (n *node) deployment(ctx context.Context, d *appsv1.Deployment) error {
	if err := n.workload(d.Name, d.Spec.Template); err != nil || d.Status.ObservedGeneration == d.Generation {
		return err
	}
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: d.Name + "-", Namespace: d.Namespace, Labels: d.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: d.Spec.Replicas, Selector: d.Spec.Selector, Template: d.Spec.Template},
	}
	if err := n.cluster.client.Create(ctx, set); err != nil {
		return err
	}
	replicas := *d.Spec.Replicas
	set.Status = appsv1.ReplicaSetStatus{ObservedGeneration: set.Generation, Replicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas}
	if err := n.cluster.client.Status().Update(ctx, set); err != nil {
		return err
	}
	d.Status = appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation, Replicas: replicas, UpdatedReplicas: replicas, ReadyReplicas: replicas, AvailableReplicas: replicas,
		Conditions: []appsv1.DeploymentCondition{
			{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue}, {Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"},
		},
	}
	return n.cluster.client.Status().Update(ctx, d)
}

func (n *node) statefulSet(ctx context.Context, s *appsv1.StatefulSet) error {
	if err := n.workload(s.Name, s.Spec.Template); err != nil || s.Status.ObservedGeneration == s.Generation {
		return err
	}
	replicas := *s.Spec.Replicas
	s.Status = appsv1.StatefulSetStatus{
		ObservedGeneration: s.Generation, Replicas: replicas, UpdatedReplicas: replicas, CurrentReplicas: replicas, ReadyReplicas: replicas,
		AvailableReplicas: replicas, CurrentRevision: "1", UpdateRevision: "1",
	}
	return n.cluster.client.Status().Update(ctx, s)
}

// job runs a Job once and reports how it ended.
func (n *node) job(ctx context.Context, j *batchv1.Job) error {
	if len(j.Status.Conditions) > 0 {
		return nil
	}
	p := n.jobs[string(j.UID)]
	if p == nil {
		var err error
		n.jobs[string(j.UID)], err = n.pod(j.Name, j.Spec.Template.Spec)
		return err
	}
	select {
	case err := <-p.done:
		now := metav1.Now()
		j.Status = batchv1.JobStatus{StartTime: &j.CreationTimestamp, UncountedTerminatedPods: &batchv1.UncountedTerminatedPods{}}
		types := []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
		j.Status.Succeeded, j.Status.CompletionTime = 1, &now
		if err != nil {
			types = []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
			j.Status.Succeeded, j.Status.Failed, j.Status.CompletionTime = 0, 1, nil
		}
		for _, each := range types {
			j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{Type: each, Status: corev1.ConditionTrue, LastTransitionTime: now, LastProbeTime: now})
		}
		if err := n.cluster.client.Status().Update(ctx, j); err != nil {
			return fmt.Errorf("status of the Job %s: %w", j.Name, err)
		}
	default:
	}
	return nil
}

// workloads returns what runs, for messages.
func (n *node) workloads(ctx context.Context) string {
	list := &appsv1.DeploymentList{}
	if err := n.cluster.client.List(ctx, list, client.InNamespace(system)); err != nil {
		return err.Error()
	}
	names := make([]string, 0, len(list.Items))
	for _, each := range list.Items {
		names = append(names, each.Name)
	}
	return strings.Join(names, " ")
}
