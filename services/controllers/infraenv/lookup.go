package infraenv

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	metal3v1alpha1 "github.com/metal3-io/baremetal-operator/apis/metal3.io/v1alpha1"
	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/slipway-io/slipway/services/api"
	"github.com/slipway-io/slipway/services/controllers/bmac"
	"github.com/slipway-io/slipway/services/host"
)

// Lookup finds InfraEnvs and decides what a machine boots; it reads from the manager's cache.
type Lookup struct {
	Client client.Reader
	// DefaultName is namespace/name of the InfraEnv that takes unknown machines; empty takes the only one.
	DefaultName string
}

func notFound(name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Group: agentv1beta1.Group, Resource: "infraenvs"}, name)
}

// ByUID finds the InfraEnv with this metadata.uid, else apierrors.IsNotFound.
func (l Lookup) ByUID(ctx context.Context, uid string) (*agentv1beta1.InfraEnv, error) {
	all := &agentv1beta1.InfraEnvList{}
	// A BMC asks thousands of times for one ISO: only what is found is copied.
	if err := l.Client.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list infraenvs: %w", err)
	}
	for i := range all.Items {
		if string(all.Items[i].UID) == uid {
			return all.Items[i].DeepCopy(), nil
		}
	}
	return nil, notFound(uid)
}

// Default is the InfraEnv of machines that nobody knows, else apierrors.IsNotFound: the configured one if it is for the
// machine's architecture (any when empty), else the only one that is.
func (l Lookup) Default(ctx context.Context, arch string) (*agentv1beta1.InfraEnv, error) {
	if l.DefaultName != "" {
		namespace, name, ok := strings.Cut(l.DefaultName, "/")
		if !ok {
			return nil, fmt.Errorf("default infraenv %q is not namespace/name", l.DefaultName)
		}
		infraEnv := &agentv1beta1.InfraEnv{}
		if err := l.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, infraEnv); err != nil {
			return nil, fmt.Errorf("read default infraenv: %w", err)
		}
		if arch == "" || architecture(infraEnv) == arch {
			return infraEnv, nil
		}
	}
	all := &agentv1beta1.InfraEnvList{}
	if err := l.Client.List(ctx, all); err != nil {
		return nil, fmt.Errorf("list infraenvs: %w", err)
	}
	fit := slices.DeleteFunc(all.Items, func(e agentv1beta1.InfraEnv) bool { return arch != "" && architecture(&e) != arch })
	if len(fit) != 1 {
		return nil, notFound(fmt.Sprintf("default (there are %d for %s, and defaultInfraEnv names none of them)", len(fit), arch))
	}
	return &fit[0], nil
}

// BootDecision says whether the machine boots its own disk; infraEnv is the one that it is discovered with otherwise: that of
// the BareMetalHost which declares the machine, else of its Agent, else the default.
// mac and uuid are as the firmware has them, either may be empty; so may arch, which chooses for unknown machines.
func (l Lookup) BootDecision(ctx context.Context, mac, uuid, arch string) (local bool, infraEnv *agentv1beta1.InfraEnv, err error) {
	agent, err := l.machine(ctx, mac, uuid)
	if err != nil {
		return false, nil, err
	}
	declared, err := l.declared(ctx, bmac.MAC(mac))
	if err != nil {
		return false, nil, err
	}
	var key client.ObjectKey
	switch {
	case declared != nil:
		key = client.ObjectKey{Namespace: declared.Namespace, Name: declared.Labels[api.InfraEnvLabel]}
		local = declared.Annotations[api.BootImageAnnotation] == api.BootImageInstalled
	case agent != nil:
		key = client.ObjectKey{Namespace: agent.Namespace, Name: agent.Labels[api.InfraEnvLabel]}
	default:
		infraEnv, err = l.Default(ctx, arch)
		return false, infraEnv, err
	}
	if agent != nil {
		local = host.Installed(agent)
	}
	infraEnv = &agentv1beta1.InfraEnv{}
	if err := l.Client.Get(ctx, key, infraEnv); err != nil {
		if apierrors.IsNotFound(err) && local {
			return true, nil, nil
		}
		return false, nil, fmt.Errorf("read infraenv %s of machine %s: %w", key, cmp.Or(mac, uuid), err)
	}
	return local, infraEnv, nil
}

// declared is the oldest BareMetalHost with this MAC address and an InfraEnv; nil for none.
func (l Lookup) declared(ctx context.Context, mac string) (*metal3v1alpha1.BareMetalHost, error) {
	if mac == "" {
		return nil, nil
	}
	all := &metal3v1alpha1.BareMetalHostList{}
	if err := l.Client.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list baremetalhosts: %w", err)
	}
	var found *metal3v1alpha1.BareMetalHost
	for i := range all.Items {
		bmh := &all.Items[i]
		if bmh.DeletionTimestamp.IsZero() && bmh.Labels[api.InfraEnvLabel] != "" && bmac.HasMAC(bmh, mac) &&
			(found == nil || bmh.CreationTimestamp.Before(&found.CreationTimestamp)) {
			found = bmh
		}
	}
	return found, nil
}

// machine is the newest Agent with this MAC address, else the one whose id the UUID is; nil for an unknown machine.
func (l Lookup) machine(ctx context.Context, mac, uuid string) (*agentv1beta1.Agent, error) {
	if parsed, err := net.ParseMAC(mac); err == nil {
		mac = parsed.String()
	}
	uuid = strings.ToLower(uuid)
	all := &agentv1beta1.AgentList{}
	if err := l.Client.List(ctx, all); err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	var byMAC, byUUID *agentv1beta1.Agent
	for i := range all.Items {
		agent := &all.Items[i]
		if mac != "" && slices.Contains(host.MACs(agent.Status.Inventory), mac) &&
			(byMAC == nil || byMAC.CreationTimestamp.Before(&agent.CreationTimestamp)) {
			byMAC = agent
		}
		if uuid != "" && agent.Name == uuid {
			byUUID = agent
		}
	}
	if byMAC != nil {
		return byMAC, nil
	}
	return byUUID, nil
}
