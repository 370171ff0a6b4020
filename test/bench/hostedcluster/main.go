// Command hostedcluster measures what a person waits for: from creating a HostedCluster to its condition Available,
// certificates and every component included, for one and for many at once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/test/site"
)

const dirEnv = "SLIPWAY_BENCH_DIR"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostedcluster:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context) (int, error) {
	bin := flag.String("bin", "bin", "directory with slipway and slipway-agent")
	release := flag.String("release", "", "directory of the release's OCI layout")
	machineOS := flag.String("os", "", "directory of the machine OS")
	many := flag.Int("many", 10, "how many to create at once")
	bare := flag.Duration("bare", 0, "what a bare etcd and kube-apiserver took in the same run, for the ratios")
	flag.Parse()
	if site.Outside() {
		dir, err := os.MkdirTemp("", "slipway-bench-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		if err := os.Setenv(dirEnv, dir); err != nil {
			return 1, err
		}
	}
	if !site.Inside() {
		return site.Enter(context.WithoutCancel(ctx))
	}
	path, err := filepath.Abs(filepath.Join(*bin, "slipway"))
	if err != nil {
		return 1, err
	}
	opened, err := site.Open(site.Config{Dir: os.Getenv(dirEnv), Slipway: path, Release: *release, OS: *machineOS})
	if err != nil {
		return 1, err
	}
	quiet, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return 1, err
	}
	r := &site.Rehearsal{Site: opened, Report: site.NewReport(quiet)}
	if err := r.Start(ctx); err != nil {
		return 1, err
	}
	if err := measure(ctx, r, *many, *bare); err != nil {
		return 1, err
	}
	return 0, nil
}

func measure(ctx context.Context, r *site.Rehearsal, many int, bare time.Duration) error {
	// The verb makes the pull secret and the first cluster; the others are copies of it.
	err := r.Verb(ctx, "create", "cluster", "agent", "--name", "first", "--namespace", site.ClusterNamespace, "--node-pool-replicas", "-1")
	if err != nil {
		return err
	}
	if err := r.ClusterAvailable(ctx, r.Management, r.Report, client.ObjectKey{Namespace: site.ClusterNamespace, Name: "first"}, time.Minute); err != nil {
		return err
	}
	one, err := create(ctx, r, "one", 1)
	if err != nil {
		return err
	}
	say("HostedCluster created to Available", one[0], bare, 1.5)
	took, err := create(ctx, r, "many", many)
	if err != nil {
		return err
	}
	slices.Sort(took)
	say(fmt.Sprintf("%d HostedClusters at once, the median", many), took[len(took)/2], bare, 0)
	say(fmt.Sprintf("%d HostedClusters at once, the slowest", many), took[len(took)-1], bare, 6)
	return nil
}

func say(what string, took, bare time.Duration, goal float64) {
	fmt.Printf("%-55s %6.2f s", what, took.Seconds())
	if bare > 0 {
		fmt.Printf("  %.2f × bare", took.Seconds()/bare.Seconds())
	}
	if goal > 0 {
		fmt.Printf("  goal %.1f ×", goal)
	}
	fmt.Println()
}

// create makes clusters without nodes, all at once, and tells how long each took.
func create(ctx context.Context, r *site.Rehearsal, prefix string, count int) ([]time.Duration, error) {
	first := &hypershiftv1beta1.HostedCluster{}
	if err := r.Management.Get(ctx, client.ObjectKey{Namespace: site.ClusterNamespace, Name: "first"}, first); err != nil {
		return nil, fmt.Errorf("read the first cluster: %w", err)
	}
	begun := map[string]time.Time{}
	for i := range count {
		cluster := &hypershiftv1beta1.HostedCluster{
			ObjectMeta: metav1.ObjectMeta{Namespace: first.Namespace, Name: fmt.Sprintf("%s%d", prefix, i)}, Spec: *first.Spec.DeepCopy(),
		}
		// What the first one was given is not for the others.
		cluster.Spec.ClusterID, cluster.Spec.InfraID = "", ""
		begun[cluster.Name] = time.Now()
		if err := r.Management.Create(ctx, cluster); err != nil {
			return nil, fmt.Errorf("create %s: %w", cluster.Name, err)
		}
	}
	return available(ctx, r, begun)
}

// available looks at all clusters together: one look each would cost more than what is measured.
func available(ctx context.Context, r *site.Rehearsal, begun map[string]time.Time) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var took []time.Duration
	for {
		list := &hypershiftv1beta1.HostedClusterList{}
		err := r.Management.List(ctx, list)
		for _, cluster := range list.Items {
			begin, waits := begun[cluster.Name]
			if waits && meta.IsStatusConditionTrue(cluster.Status.Conditions, string(hypershiftv1beta1.HostedClusterAvailable)) {
				took = append(took, time.Since(begin))
				delete(begun, cluster.Name)
			}
		}
		if len(begun) == 0 {
			return took, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %d clusters: %w", len(begun), errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}
