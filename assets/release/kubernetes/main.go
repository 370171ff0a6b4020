// Command kube is Kubernetes as one multi-call binary: it runs the program that it is named after.
// One binary shares text pages between control planes and halves what a node has to pull.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJobs name time zones, and the content directory of a release has no zoneinfo

	"github.com/spf13/cobra"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	run := program(name)
	if run == nil && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
		run = program(name)
	}
	if run == nil {
		fmt.Fprintf(os.Stderr, "kube: %q is none of kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, kubelet, kubectl\n", name)
		os.Exit(2)
	}
	os.Exit(run())
}

// program returns what runs under the given name, or nil.
func program(name string) func() int {
	switch name {
	case "kube-apiserver":
		return component(apiserver.NewAPIServerCommand)
	case "kube-controller-manager":
		return component(controllermanager.NewControllerManagerCommand)
	case "kube-scheduler":
		return component(func() *cobra.Command { return scheduler.NewSchedulerCommand() })
	case "kube-proxy":
		return component(proxy.NewProxyCommand)
	case "kubelet":
		return component(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) })
	case "kubectl":
		return runKubectl
	}
	return nil
}

func component(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

// runKubectl does what upstream's main does: the verbosity is parsed by hand because plugins are looked up before flags are.
func runKubectl() int {
	logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) //nolint:errcheck // a bad value is reported by the flag's own parser
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
	return 0
}
