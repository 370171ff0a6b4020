package baremetalhost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmh"
)

const (
	// stepTimeout bounds one step with a BMC, the waits for power and tasks among it.
	stepTimeout = 4 * time.Minute
	// soon is when to look again at what a machine is about to do.
	soon = 5 * time.Second
	// stepsLimit is more than a life has.
	stepsLimit = 16
)

// visit to one host: what is known, and what came of it.
type visit struct {
	*Reconciler
	host, before *metal3v1alpha1.BareMetalHost
	memory       *memory
	login        Login
	again        time.Duration
}

func (v *visit) run(ctx context.Context) error {
	if _, paused := v.host.Annotations[api.PausedAnnotation]; paused {
		return nil
	}
	if detached, err := v.detached(ctx); detached || err != nil {
		return err
	}
	if !hasFinalizer(v.host) && v.host.DeletionTimestamp.IsZero() {
		if err := v.change(ctx, "add finalizer", func(host *metal3v1alpha1.BareMetalHost) {
			controllerutil.AddFinalizer(host, metal3v1alpha1.BareMetalHostFinalizer)
		}); err != nil {
			return err
		}
	}
	v.sayIgnored()
	bmh.Await(v.host)
	var problem error
	if v.host.HasBMCDetails() {
		v.login, problem = v.options.Access.Login(ctx, v.host)
		if problem != nil && bmc.Kind(problem) == "" {
			return problem
		}
	}
	if wait := v.heldBack(); wait > 0 {
		v.again = wait
		return nil
	}
	for range stepsLimit {
		more, err := v.step(ctx, problem)
		if err != nil || !more {
			return errors.Join(err, v.write(ctx))
		}
	}
	return v.write(ctx)
}

// sayIgnored once for each field of the spec that has no effect, when it comes.
func (v *visit) sayIgnored() {
	told := v.memory.ignored
	v.memory.ignored = bmh.Ignored(&v.host.Spec)
	for _, field := range v.memory.ignored {
		if !slices.Contains(told, field) {
			v.events.Eventf(v.host, nil, corev1.EventTypeWarning, "NotApplied", field.Path, "%s changes nothing here; what does: %s", field.Path, field.Instead)
		}
	}
}

// heldBack until the next try is due, unless what failed was changed since.
func (v *visit) heldBack() time.Duration {
	inputs := fmt.Sprint(v.host.Generation, v.host.DeletionTimestamp, v.login.Inputs, v.host.Annotations[api.BootMethodWantedAnnotation],
		v.host.Annotations[api.BMCCAAnnotation], v.host.Annotations[api.BootImageAnnotation], v.host.Annotations[api.BootCorrectionAnnotation])
	if v.memory.inputs != inputs {
		if v.memory.inputs != "" && v.host.Status.ErrorCount > 0 {
			v.host.Status.ErrorCount = 0
		}
		v.memory.inputs, v.memory.next, v.memory.silent = inputs, time.Time{}, 0
	}
	wait := time.Until(v.memory.next)
	if v.host.DeletionTimestamp != nil && bmh.See(v.host, false, v.lost()) == bmh.Lost {
		return 0
	}
	return wait
}

func (v *visit) lost() bool { return v.options.Patience.Over(v.host, time.Now()) }

// registered whether the BMC accepted these credentials.
func (v *visit) registered() bool {
	return v.login.Secret != nil && v.host.Status.GoodCredentials.Match(*v.login.Secret)
}

// step is one intent; more is whether the next may follow at once.
func (v *visit) step(ctx context.Context, problem error) (more bool, err error) {
	lost := v.lost()
	intent := bmh.Decide(v.host.Status.Provisioning.State, bmh.See(v.host, v.registered() && problem == nil, lost), bmh.Want(v.host))
	if lost && intent.Do == bmh.Move && intent.Next == metal3v1alpha1.StateDeleting {
		v.event(corev1.EventTypeWarning, "GaveUp", "the host is deleted although its BMC could not be used: "+v.host.Status.ErrorMessage+"; look whether the machine is still on and whether a medium is in it")
	}
	at := v.host.Status.Provisioning.State
	switch intent.Do {
	case bmh.Rest:
		v.again = 10 * time.Minute
		return false, nil
	case bmh.Move:
		v.enter(intent.Next)
		return true, nil
	case bmh.Release:
		return false, v.release(ctx)
	case bmh.Adopt:
		v.host.Status.Provisioning.Image = *v.host.Spec.Image
		v.enter(intent.Next)
		return true, nil
	case bmh.Reinspect:
		return true, v.reinspect(ctx, intent.Next)
	}
	if problem != nil {
		return false, v.failed(problem)
	}
	// What takes time is seen from its beginning.
	if at != v.before.Status.Provisioning.State {
		if err := v.write(ctx); err != nil {
			return false, err
		}
	}
	began := time.Now()
	if err := v.act(ctx, intent.Do); err != nil {
		if bmc.Kind(err) == "" || ctx.Err() != nil {
			return false, err
		}
		return false, v.failed(err)
	}
	v.metrics.took(string(intent.Do), time.Since(began))
	v.heard()
	v.memory.silent, v.memory.next = 0, time.Time{}
	if bmh.Succeed(&v.host.Status) {
		v.event(corev1.EventTypeNormal, "Recovered", "the BMC does as asked again")
	}
	v.enter(intent.Next)
	bmh.Await(v.host)
	return intent.Do != bmh.Keep, nil
}

// act with the BMC.
func (v *visit) act(ctx context.Context, do bmh.Action) error {
	steps := map[bmh.Action]func(context.Context, *redfish.Client) error{
		bmh.Register: v.register, bmh.Inspect: v.inspect, bmh.Prepare: v.prepare, bmh.Boot: v.boot, bmh.Keep: v.keep, bmh.CleanUp: v.cleanUp, bmh.PowerOff: v.powerOff,
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	v.rememberRefused()
	return v.pool.With(ctx, v.login.Config, steps[do])
}

// rememberRefused tells the pool after a restart which credentials the BMC refused; a Secret that was written since may be
// tried again, even with the same ones: that is how people say that they mended the account on the BMC.
func (v *visit) rememberRefused() {
	if bmh.FailureKind(v.host.Status) != bmc.Refused {
		return
	}
	if v.host.Status.TriedCredentials.Match(*v.login.Secret) {
		v.pool.Refuse(v.login.Config)
	} else {
		v.pool.Forget(v.login.Config)
	}
}

// failed notes a fault and when to try again.
func (v *visit) failed(err error) error {
	kind, status := bmc.Kind(err), &v.host.Status
	v.again = v.jitter(bmh.Backoff(kind, status.ErrorCount+1))
	if !v.host.DeletionTimestamp.IsZero() {
		v.again = min(v.again, max(v.options.Patience.Mistake/4, time.Second))
	}
	v.memory.silent++
	v.memory.next = time.Now().Add(v.again)
	if bmh.Retriable(kind) && v.memory.silent < 2 && status.OperationalStatus != metal3v1alpha1.OperationalStatusError && v.host.DeletionTimestamp.IsZero() {
		return nil
	}
	if kind == bmc.Refused && v.login.Secret != nil {
		v.host.UpdateTriedCredentials(*v.login.Secret)
		status.GoodCredentials = metal3v1alpha1.CredentialsStatus{}
	}
	text := err.Error()
	if kind == bmc.Refused {
		text += fmt.Sprintf("; correct the Secret %s, or mend the account on the BMC and then write the Secret again", v.host.Spec.BMC.CredentialsName)
	}
	if kind == bmc.TLS {
		text += fmt.Sprintf("; put the CA of the BMC into a ConfigMap (key %s) and name it by the annotation %s, or into the ConfigMap %s/%s for all", caKey, api.BMCCAAnnotation, v.options.Access.Namespace, api.SiteBMCCA)
	}
	if bmh.Fail(status, v.registered(), kind, text) {
		v.event(corev1.EventTypeWarning, eventReason(status.ErrorType), status.ErrorMessage)
		v.options.Log.Warn("host is in trouble", "host", client.ObjectKeyFromObject(v.host), "state", status.Provisioning.State, "kind", kind, "err", err)
	}
	v.metrics.failed(string(status.ErrorType), string(kind))
	return nil
}

// eventReason is the error type in one word.
func eventReason(kind metal3v1alpha1.ErrorType) string {
	var reason strings.Builder
	for word := range strings.FieldsSeq(string(kind)) {
		reason.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return reason.String()
}

// heard from the BMC right now.
func (v *visit) heard() {
	v.Reconciler.mu.Lock()
	defer v.Reconciler.mu.Unlock()
	v.memory.heard = time.Now()
}

func (v *visit) enter(next bmh.State) {
	bmh.Enter(v.host, next, time.Now())
	v.Reconciler.mu.Lock()
	v.memory.state = next
	v.Reconciler.mu.Unlock()
}

// detached hosts are left alone.
func (v *visit) detached(ctx context.Context) (bool, error) {
	value, detached := v.host.Annotations[api.DetachedAnnotation]
	status := &v.host.Status
	if !detached {
		if status.OperationalStatus == metal3v1alpha1.OperationalStatusDetached {
			status.OperationalStatus = metal3v1alpha1.OperationalStatusOK
		}
		return false, nil
	}
	var arguments metal3v1alpha1.DetachedAnnotationArguments
	_ = json.Unmarshal([]byte(value), &arguments) // any value detaches
	if !v.host.DeletionTimestamp.IsZero() && arguments.DeleteAction != metal3v1alpha1.DetachedDeleteActionDelay {
		return true, v.release(ctx)
	}
	bmh.Succeed(status)
	status.OperationalStatus = metal3v1alpha1.OperationalStatusDetached
	v.again = 10 * time.Minute
	return true, v.write(ctx)
}

// write the status when it is another one. It has one writer, so that nothing is locked.
func (v *visit) write(ctx context.Context) error {
	if equality.Semantic.DeepEqual(v.host.Status, v.before.Status) {
		return nil
	}
	now := metav1.NewTime(time.Now().UTC().Truncate(time.Second))
	v.host.Status.LastUpdated = &now
	next := v.host.DeepCopy()
	// The first write brings the fields that have to be there even when they are empty.
	write := func() error { return v.client.Status().Patch(ctx, next, client.MergeFrom(v.before)) }
	if v.before.Status.Provisioning.State == metal3v1alpha1.StateNone {
		write = func() error { return v.client.Status().Update(ctx, next) }
	}
	if err := write(); err != nil {
		return fmt.Errorf("write status of BareMetalHost %s: %w", client.ObjectKeyFromObject(v.host), err)
	}
	v.took(next)
	v.before.Status = *v.host.Status.DeepCopy()
	return nil
}

// change metadata of the host; nothing is sent when nothing changes.
func (v *visit) change(ctx context.Context, doing string, change func(*metal3v1alpha1.BareMetalHost)) error {
	next := v.host.DeepCopy()
	change(next)
	if equality.Semantic.DeepEqual(next.ObjectMeta, v.host.ObjectMeta) {
		return nil
	}
	if err := v.client.Patch(ctx, next, client.MergeFrom(v.host)); err != nil {
		return fmt.Errorf("%s of BareMetalHost %s: %w", doing, client.ObjectKeyFromObject(v.host), err)
	}
	v.took(next)
	return nil
}

// took the metadata that the API server answered with.
func (v *visit) took(answer *metal3v1alpha1.BareMetalHost) {
	v.memory.written = max(v.memory.written, version(answer))
	v.host.ObjectMeta = answer.ObjectMeta
	v.before.ObjectMeta = *answer.ObjectMeta.DeepCopy()
}

func (v *visit) annotate(ctx context.Context, values map[string]string) error {
	return v.change(ctx, "annotate", func(host *metal3v1alpha1.BareMetalHost) {
		for key, value := range values {
			if value == "" {
				delete(host.Annotations, key)
				continue
			}
			metav1.SetMetaDataAnnotation(&host.ObjectMeta, key, value)
		}
	})
}

func (v *visit) event(kind, reason, note string) {
	// An Event's note is bounded by the API.
	if len(note) > 1000 {
		note = strings.ToValidUTF8(note[:1000], "") + "…"
	}
	v.events.Eventf(v.host, nil, kind, reason, string(v.host.Status.Provisioning.State), "%s", note)
}
