package infraenv

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/slipway-io/slipway/services/nmstate"
)

// Network is the static networking of the InfraEnv's hosts, nil when it has none. Its errors are the users' mistakes
// unless the API cannot be read.
func (l Lookup) Network(ctx context.Context, infraEnv *agentv1beta1.InfraEnv) ([]nmstate.File, error) {
	hosts, err := hostNetworks(ctx, l.Client, infraEnv)
	if err != nil {
		return nil, err
	}
	return nmstate.Initramfs(hosts)
}

// hostNetworks are the NMStateConfigs that the InfraEnv selects, in any namespace. An empty selector selects none.
func hostNetworks(ctx context.Context, from client.Reader, infraEnv *agentv1beta1.InfraEnv) ([]nmstate.Host, error) {
	if !selects(infraEnv) {
		return nil, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(&infraEnv.Spec.NMStateConfigLabelSelector)
	if err != nil {
		return nil, fmt.Errorf("nmStateConfigLabelSelector: %w", err)
	}
	all := &agentv1beta1.NMStateConfigList{}
	if err := from.List(ctx, all, client.MatchingLabelsSelector{Selector: selector}); err != nil {
		return nil, fmt.Errorf("list nmstateconfigs: %w", err)
	}
	slices.SortFunc(all.Items, func(a, b agentv1beta1.NMStateConfig) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var hosts []nmstate.Host
	for _, one := range all.Items {
		if !one.DeletionTimestamp.IsZero() {
			continue
		}
		host := nmstate.Host{Name: "NMStateConfig " + one.Namespace + "/" + one.Name, Config: one.Spec.NetConfig.Raw}
		for _, port := range one.Spec.Interfaces {
			if port != nil {
				host.Interfaces = append(host.Interfaces, nmstate.Interface{Name: port.Name, MAC: port.MacAddress})
			}
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

func selects(infraEnv *agentv1beta1.InfraEnv) bool {
	selector := infraEnv.Spec.NMStateConfigLabelSelector
	return len(selector.MatchLabels)+len(selector.MatchExpressions) > 0
}

// network is what the image's mark says of the static networking, empty without any; fault is the user's.
func (r *Reconciler) network(ctx context.Context, infraEnv *agentv1beta1.InfraEnv) (mark string, fault, err error) {
	if _, invalid := metav1.LabelSelectorAsSelector(&infraEnv.Spec.NMStateConfigLabelSelector); invalid != nil {
		return "-invalid", fmt.Errorf("nmStateConfigLabelSelector: %w", invalid), nil
	}
	hosts, err := hostNetworks(ctx, r.Client, infraEnv)
	if err != nil {
		return "", nil, err
	}
	files, fault := nmstate.Initramfs(hosts)
	if fault != nil {
		return "-invalid", fault, nil
	}
	if len(files) == 0 {
		return "", nil, nil
	}
	sum := sha256.New()
	for _, file := range files {
		fmt.Fprintf(sum, "%s %d\n", file.Name, len(file.Content))
		sum.Write(file.Content)
	}
	return "-" + hex.EncodeToString(sum.Sum(nil)[:8]), nil, nil
}

// selectors are the InfraEnvs that select NMStateConfigs: with its labels one may just have left them.
func (r *Reconciler) selectors(ctx context.Context, _ client.Object) []reconcile.Request {
	all := &agentv1beta1.InfraEnvList{}
	if err := r.Client.List(ctx, all); err != nil {
		return nil
	}
	var found []reconcile.Request
	for i := range all.Items {
		if selects(&all.Items[i]) {
			found = append(found, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all.Items[i])})
		}
	}
	return found
}
