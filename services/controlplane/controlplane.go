package controlplane

import "slices"

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

// goMemory makes a Go program collect earlier than it would: control planes are idle most of the time
// and many of them share a machine. limit is soft.
func goMemory(limit string) []string {
	return []string{"GOGC=50", "GOMEMLIMIT=" + limit}
}
