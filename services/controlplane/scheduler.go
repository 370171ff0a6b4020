package controlplane

import (
	"slices"
	"time"

	"github.com/slipway-io/slipway/services/controlplane/pki"
)

func scheduler() Component {
	return Component{
		Name:      KubeScheduler,
		Image:     ImageKubernetes,
		Command:   slices.Concat([]string{"$(IMAGE)/usr/bin/kube-scheduler"}, localServing(KubeScheduler)),
		Env:       goMemory(50, 512),
		Mounts:    localMounts(pki.SchedulerServer, pki.SchedulerKubeconfig),
		Ports:     []Port{{Name: KubeScheduler}},
		Ready:     localProbe(KubeScheduler),
		Live:      localProbe(KubeScheduler),
		After:     []string{KubeAPIServer},
		MemoryMiB: 512,
		CPUMillis: 1000,
		CPUWeight: backgroundWeight,
		StopGrace: 10 * time.Second,
	}
}
