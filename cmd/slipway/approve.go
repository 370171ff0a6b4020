package main

import (
	"errors"
	"fmt"
	"strings"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func approveCommand() *cobra.Command {
	var flags apiFlags
	var all bool
	var namespace string
	cmd := &cobra.Command{
		Use:   "approve AGENT...|--all",
		Short: "Let hosts of the inventory be used; an AGENT is a name, the start of one, or a hostname",
		RunE: func(cmd *cobra.Command, names []string) error {
			if all == (len(names) > 0) {
				return errors.New("approve: name the agents, or give --all")
			}
			kube, err := flags.client()
			if err != nil {
				return err
			}
			list := &agentv1beta1.AgentList{}
			if err := kube.List(cmd.Context(), list, client.InNamespace(namespace)); err != nil {
				return fmt.Errorf("list agents: %w", err)
			}
			chosen, err := choose(list.Items, names)
			if err != nil {
				return err
			}
			for i := range chosen {
				agent := &chosen[i]
				if agent.Spec.Approved {
					continue
				}
				before := agent.DeepCopy()
				agent.Spec.Approved = true
				if err := kube.Patch(cmd.Context(), agent, client.MergeFrom(before)); err != nil {
					return fmt.Errorf("approve agent %s: %w", agent.Name, err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "agent %s (%s) approved\n", agent.Name, agent.Status.Inventory.Hostname)
			}
			return nil
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "every agent that is there now")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "namespace of the agents (default all)")
	return cmd
}

// choose finds exactly one agent for each name, and all for no names.
func choose(agents []agentv1beta1.Agent, names []string) ([]agentv1beta1.Agent, error) {
	if len(names) == 0 {
		return agents, nil
	}
	var chosen []agentv1beta1.Agent
	for _, name := range names {
		var found []agentv1beta1.Agent
		for _, agent := range agents {
			if strings.HasPrefix(agent.Name, name) || agent.Spec.Hostname == name || agent.Status.Inventory.Hostname == name {
				found = append(found, agent)
			}
		}
		if len(found) != 1 {
			return nil, fmt.Errorf("approve %s: %d agents fit, `kubectl get agents -A -o wide` lists them", name, len(found))
		}
		chosen = append(chosen, found[0])
	}
	return chosen, nil
}
