package baremetalhost

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/bmc"
	"github.com/slipway-io/slipway/services/bmc/redfish"
	"github.com/slipway-io/slipway/services/bmh"
)

// Pool of connections to BMCs, one for the process.
type Pool = bmc.Pool[*redfish.Client]

// Options of the controller; what is zero has the default that is named.
type Options struct {
	// Access finds out how a host's BMC is reached.
	Access *Access
	// Loader is the URL that UEFI HTTP boot starts with, by architecture; nil: there is none.
	Loader func(arch string) string
	// Workers are hosts worked on at a time: 100.
	Workers int
	// Poll is how often the power is looked at: 60 s.
	Poll time.Duration
	// Patience that deletion has: a minute with mistakes, five with trouble.
	Patience bmh.Patience
	Log      *slog.Logger
}

// Reconciler of BareMetalHosts.
type Reconciler struct {
	client  client.Client
	pool    *Pool
	events  events.EventRecorder
	options Options
	metrics *Metrics

	mu     sync.Mutex
	memory map[types.NamespacedName]*memory
}

// memory of a host that no restart needs.
type memory struct {
	uid types.UID
	// written is the resource version of the last write: the cache may still have the one before.
	written uint64
	// inputs that the last try failed with, and when the next one is due.
	inputs string
	next   time.Time
	// asked the operating system to shut down.
	asked time.Time
	// silent polls in a row.
	silent int
	state  bmh.State
	// looked at is its BMC, since heard with the last good answer.
	looked bool
	heard  time.Time
	// ignored fields of the spec, which were told.
	ignored []bmh.Field
}

// New reconciler; it does nothing before SetupWithManager and the manager's start.
func New(kube client.Client, pool *Pool, recorder events.EventRecorder, metrics *Metrics, options Options) *Reconciler {
	if options.Workers == 0 {
		options.Workers = 100
	}
	if options.Poll == 0 {
		options.Poll = time.Minute
	}
	if options.Patience == (bmh.Patience{}) {
		options.Patience = bmh.Patience{Mistake: time.Minute, Trouble: 5 * time.Minute}
	}
	if options.Loader == nil {
		options.Loader = func(string) string { return "" }
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	r := &Reconciler{client: kube, pool: pool, events: recorder, options: options, metrics: metrics, memory: map[types.NamespacedName]*memory{}}
	metrics.states, metrics.ages = r.states, r.ages
	return r
}

// Reconcile implements reconcile.Reconciler.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	host := &metal3v1alpha1.BareMetalHost{}
	if err := r.client.Get(ctx, request.NamespacedName, host); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(request.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("read BareMetalHost %s: %w", request, err)
	}
	m := r.remember(host)
	if version(host) < m.written {
		return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil
	}
	v := &visit{Reconciler: r, host: host, before: host.DeepCopy(), memory: m, again: r.jitter(r.options.Poll)}
	err := v.run(ctx)
	if err != nil && ctx.Err() != nil {
		// The appliance stops, or the step took longer than all of its waits: it begins again.
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{RequeueAfter: 50 * time.Millisecond}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: v.again}, nil
}

// jitter keeps thousands of hosts from one step.
func (r *Reconciler) jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}

func (r *Reconciler) remember(host *metal3v1alpha1.BareMetalHost) *memory {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := client.ObjectKeyFromObject(host)
	m := r.memory[key]
	if m == nil || m.uid != host.UID {
		m = &memory{uid: host.UID, heard: time.Now()}
		r.memory[key] = m
	}
	m.state = host.Status.Provisioning.State
	_, paused := host.Annotations[api.PausedAnnotation]
	_, detached := host.Annotations[api.DetachedAnnotation]
	m.looked = host.HasBMCDetails() && !paused && !detached
	return m
}

func (r *Reconciler) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.memory, key)
}

// ages of the last good answers of all BMCs that are looked at.
func (r *Reconciler) ages() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	ages := make([]time.Duration, 0, len(r.memory))
	for _, m := range r.memory {
		if m.looked {
			ages = append(ages, time.Since(m.heard))
		}
	}
	return ages
}

// states of all hosts, for the metrics.
func (r *Reconciler) states() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := map[string]int{}
	for _, m := range r.memory {
		count[string(m.state)]++
	}
	return count
}

// version orders the writes of one object; zero when the API server numbers in another way.
func version(host client.Object) uint64 {
	number, err := strconv.ParseUint(host.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return number
}

func hasFinalizer(host *metal3v1alpha1.BareMetalHost) bool {
	return controllerutil.ContainsFinalizer(host, metal3v1alpha1.BareMetalHostFinalizer)
}
