package chart_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scale does what kubectl scale does.
func scale(t *testing.T, namespace, name string, replicas int32) error {
	t.Helper()
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	return admin.SubResource("scale").Update(t.Context(), set, client.WithSubResourceBody(&autoscalingv1.Scale{
		ObjectMeta: set.ObjectMeta, Spec: autoscalingv1.ScaleSpec{Replicas: replicas},
	}))
}

// kubectl scale to fewer receivers would leave events on volumes that nobody reads. It is refused with the command that does not. Other
// StatefulSets, more receivers, and changes of the StatefulSet itself are not.
func TestScaleInByHandIsRefused(t *testing.T) {
	t.Parallel()
	place, elsewhere := newNamespace(t), newNamespace(t)
	mustUpgrade(t, place)
	mustUpgrade(t, elsewhere, "receiver.drain.refuseScale=false")
	awaitPolicies(t, func() error {
		if err := scale(t, place, "mandrill-receiver", 1); err == nil {
			return errors.Join(errors.New("it is not refused yet"), scale(t, place, "mandrill-receiver", 2))
		}
		return nil
	})
	for _, replicas := range []int32{1, 0} {
		err := scale(t, place, "mandrill-receiver", replicas)
		for _, want := range []string{
			fmt.Sprintf("helm upgrade mandrill-operator CHART -n %s --reset-then-reuse-values --set receiver.replicas=%d ", place, replicas),
			fmt.Sprintf(`kubectl patch statefulset mandrill-receiver -n %s --patch '{"spec": {"replicas": %d}}'`, place, replicas), "config/drain",
		} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("scaling to %d: got error %v, want one with %s", replicas, err, want)
			}
		}
	}
	for _, replicas := range []int32{2, 3} {
		if err := scale(t, place, "mandrill-receiver", replicas); err != nil {
			t.Errorf("scaling to %d: %v", replicas, err)
		}
	}
	if err := scale(t, elsewhere, "mandrill-receiver", 0); err != nil {
		t.Errorf("scaling a release that does not refuse it: %v", err)
	}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: place, Name: "mandrill-receiver"}}
	if err := admin.Patch(t.Context(), set, client.RawPatch("application/merge-patch+json", []byte(`{"spec": {"replicas": 0}}`))); err != nil {
		t.Errorf("changing the StatefulSet: %v", err)
	}
	mustUpgrade(t, place, "receiver.replicas=0") // the number that somebody else has set, because Helm 4 does not overwrite another one
}
