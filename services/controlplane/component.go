package controlplane

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Names of the components and of the release components (images) that they run from.
const (
	Etcd                  = "etcd"
	KubeAPIServer         = "kube-apiserver"
	KubeControllerManager = "kube-controller-manager"
	KubeScheduler         = "kube-scheduler"

	ImageKubernetes = "kubernetes"
	ImageEtcd       = "etcd"
)

// ControlPlane is what a driver is handed: the description and everything that it refers to.
type ControlPlane struct {
	// Name is unique on the site; it names directories, so it has to be a DNS label.
	Name       string
	Components []Component
	// Images maps release components to references by digest.
	Images     map[string]string
	Secrets    map[string]*corev1.Secret
	ConfigMaps map[string]*corev1.ConfigMap
}

// Component is one program of a control plane. Command, Env, Probe and the paths in them may hold
// placeholders that the driver expands:
//
//	$(IMAGE)       root of the unpacked image
//	$(MOUNT:name)  directory of one of the component's own mounts
//	$(DATA)        the component's persistent directory (Data has to be set)
//	$(PORT:name)   a port of any component of the same control plane
type Component struct {
	Name string `json:"name"`
	// Image is the name of a release component.
	Image   string   `json:"image"`
	Command []string `json:"command"`
	Env     []string `json:"env,omitempty"`
	Mounts  []Mount  `json:"mounts,omitempty"`
	Ports   []Port   `json:"ports,omitempty"`
	// Ready gates those that come After; Live restarts the component after repeated failures.
	Ready *Probe `json:"ready,omitempty"`
	Live  *Probe `json:"live,omitempty"`
	// After names components that have to be ready before this one is started the first time.
	After []string `json:"after,omitempty"`
	Data  bool     `json:"data,omitempty"`
	// HeavyStart tells that many starts at once only slow one another down.
	HeavyStart bool `json:"heavyStart,omitempty"`
	// Replicas is for drivers that can run more than one; 0 means 1.
	Replicas int32 `json:"replicas,omitempty"`
	// MemoryMiB and CPUMillis bound the component where the driver can; 0 means no bound.
	MemoryMiB int64 `json:"memoryMiB,omitempty"`
	CPUMillis int64 `json:"cpuMillis,omitempty"`
	// CPUWeight is the component's share when there is too little for all, 100 being usual; 0 means 100.
	CPUWeight int64 `json:"cpuWeight,omitempty"`
	// StopGrace is how long the component has to end before it is killed; 0 means the driver's default.
	StopGrace time.Duration `json:"stopGrace,omitempty"`
}

// Mount is a directory with the keys of one Secret or ConfigMap as files.
type Mount struct {
	Name      string `json:"name"`
	Secret    string `json:"secret,omitempty"`
	ConfigMap string `json:"configMap,omitempty"`
	// Keys picks keys; none means all.
	Keys []string `json:"keys,omitempty"`
	// Reloads tells that the program notices changed files by itself: no restart is needed.
	Reloads bool `json:"reloads,omitempty"`
}

// Port is a named port, unique in its control plane. Number 0 lets the driver choose a loopback port.
type Port struct {
	Name   string `json:"name"`
	Number int    `json:"number,omitempty"`
}

// Probe asks a component how it is: an HTTPS request if Path is set, else a TCP connection.
// It is made on the loopback address.
type Probe struct {
	// Port is the name of a port.
	Port string `json:"port"`
	Path string `json:"path,omitempty"`
	// CA, Cert and Key are file paths; without Cert the probe is anonymous.
	CA   string `json:"ca,omitempty"`
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
	// ServerName is the name to verify the certificate for.
	ServerName string `json:"serverName,omitempty"`
}
