package controlplane

import (
	"slices"
	"strconv"
)

// ManagementName is the name of the appliance's own control plane.
const ManagementName = "management"

// Hosted returns the components of a hosted cluster's control plane.
func Hosted(spec Spec) []Component {
	spec = spec.Defaulted()
	return withExtraArgs(spec, etcd(), apiServer(spec), controllerManager(spec), scheduler())
}

// Management returns the components of the appliance's own API: it has no nodes and runs no pods.
func Management(spec Spec) []Component {
	spec = spec.Defaulted()
	return withExtraArgs(spec, etcd(), managementAPIServer(spec), managementControllerManager(spec))
}

func withExtraArgs(spec Spec, components ...Component) []Component {
	for i := range components {
		components[i].Command = slices.Concat(components[i].Command, spec.ExtraArgs[components[i].Name])
	}
	return components
}

// backgroundWeight lets those who work behind the API wait for it when many control planes start.
const backgroundWeight = 25

// goMemory bounds what a Go program keeps before it collects: control planes are idle most of the time
// and many of them share a machine. A percent below 100 trades processor time for memory; measured with
// test/bench. The soft limit is three quarters of the component's bound: a heap that grew over a lower one is
// collected without end, which with 15,000 objects of 20 KiB in an API server limited to 384 MiB was 0.45 cores
// for 26 reads a second, each six times as slow, instead of 0.07.
func goMemory(percent int, boundMiB int) []string {
	return []string{"GOGC=" + strconv.Itoa(percent), "GOMEMLIMIT=" + strconv.Itoa(boundMiB*3/4) + "MiB"}
}
