// Package crd installs the definitions of the kinds that Slipway serves.
package crd

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const owner = client.FieldOwner("slipway")

// Install applies every definition in files and returns when all are served. It may be called again at each start.
func Install(ctx context.Context, kube client.Client, files fs.FS) error {
	paths, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return fmt.Errorf("list definitions: %w", err)
	}
	names := make([]string, 0, len(paths))
	for _, path := range paths {
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return fmt.Errorf("read definition: %w", err)
		}
		definition := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &definition.Object); err != nil {
			return fmt.Errorf("parse definition %s: %w", path, err)
		}
		unstructured.RemoveNestedField(definition.Object, "status")
		if err := kube.Apply(ctx, client.ApplyConfigurationFromUnstructured(definition), owner, client.ForceOwnership); err != nil {
			return fmt.Errorf("apply definition %s: %w", definition.GetName(), err)
		}
		names = append(names, definition.GetName())
	}
	for _, name := range names {
		if err := established(ctx, kube, name); err != nil {
			return err
		}
	}
	return nil
}

func established(ctx context.Context, kube client.Client, name string) error {
	last := "not seen yet"
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		definition := &apiextensionsv1.CustomResourceDefinition{}
		if err := kube.Get(ctx, client.ObjectKey{Name: name}, definition); err != nil {
			last = err.Error()
			return false, nil
		}
		for _, condition := range definition.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
			if condition.Status == apiextensionsv1.ConditionFalse {
				last = condition.Reason + ": " + condition.Message
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait until %s is served: %w, last seen: %s", name, err, last)
	}
	return nil
}
