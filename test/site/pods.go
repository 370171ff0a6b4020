package site

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
)

var listAll = metav1.ListOptions{}

// PodOutput runs a pod on a node and gives the first line of its log and the output of a command executed in it:
// what `kubectl logs` and `kubectl exec` do.
func (s *Site) PodOutput(ctx context.Context, hosted kubernetes.Interface, config *rest.Config, image, node string) (logged, executed string, err error) {
	name := "hello-" + node
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			NodeName:   node,
			Containers: []corev1.Container{{Name: "hello", Image: image}},
		},
	}
	if _, err := hosted.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return "", "", fmt.Errorf("create pod %s: %w", name, err)
	}
	err = s.Until(ctx, "pod "+name+" runs", 3*time.Minute, func(ctx context.Context) (bool, string, error) {
		pod, err := hosted.CoreV1().Pods(pod.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		return pod.Status.Phase == corev1.PodRunning, podWord(pod), nil
	})
	if err != nil {
		return "", "", err
	}
	err = s.Until(ctx, "log of pod "+name, time.Minute, func(ctx context.Context) (bool, string, error) {
		stream, err := hosted.CoreV1().Pods(pod.Namespace).GetLogs(name, &corev1.PodLogOptions{}).Stream(ctx)
		if err != nil {
			return false, "", err
		}
		defer stream.Close()
		text, err := io.ReadAll(io.LimitReader(stream, 64<<10))
		if err != nil {
			return false, "", err
		}
		logged, _, _ = strings.Cut(string(text), "\n")
		return logged != "", "empty", nil
	})
	if err != nil {
		return "", "", err
	}
	executed, err = execute(ctx, hosted, config, name, "/demo", "echo", "exec works")
	return logged, executed, err
}

// Reach asks the pod of one node from the pod of another, by its own address.
func (s *Site) Reach(ctx context.Context, hosted kubernetes.Interface, config *rest.Config, from, to string) (answer string, err error) {
	err = s.Until(ctx, "pod of "+from+" reaches the pod of "+to, time.Minute, func(ctx context.Context) (bool, string, error) {
		pod, err := hosted.CoreV1().Pods(metav1.NamespaceDefault).Get(ctx, "hello-"+to, metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		answer, err = execute(ctx, hosted, config, "hello-"+from, "/demo", "get", "http://"+net.JoinHostPort(pod.Status.PodIP, "8080"))
		return err == nil, "", err
	})
	return answer, err
}

// onHost runs a program of the node's OS from a container that has no libraries of its own.
func onHost(command []string) []string {
	return append([]string{
		"/host/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "--library-path", "/host/usr/lib/x86_64-linux-gnu", "/host/usr/sbin/chroot", "/host",
	}, command...)
}

// OnNode runs a command in the node's own file system and network, as `kubectl debug node/… -- chroot /host` does, and gives its output.
func (s *Site) OnNode(ctx context.Context, hosted kubernetes.Interface, config *rest.Config, image, node string, command ...string) (output string, err error) {
	name, yes, root := "host-"+node, true, int64(0)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceDefault},
		Spec: corev1.PodSpec{
			NodeName: node, HostNetwork: true,
			Containers: []corev1.Container{{
				Name: "hello", Image: image, Command: onHost(command),
				SecurityContext: &corev1.SecurityContext{Privileged: &yes, RunAsUser: &root},
				VolumeMounts:    []corev1.VolumeMount{{Name: "host", MountPath: "/host"}},
			}},
			Volumes:       []corev1.Volume{{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}},
			RestartPolicy: corev1.RestartPolicyNever,
		},
	}
	pods := hosted.CoreV1().Pods(pod.Namespace)
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return "", fmt.Errorf("create pod %s: %w", name, err)
	}
	var seen *corev1.Pod
	err = s.Until(ctx, "pod "+name+" ends", 2*time.Minute, func(ctx context.Context) (bool, string, error) {
		if seen, err = pods.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return false, "", err
		}
		return seen.Status.Phase == corev1.PodSucceeded || seen.Status.Phase == corev1.PodFailed, podWord(seen), nil
	})
	if err != nil {
		return "", err
	}
	text, err := pods.GetLogs(name, &corev1.PodLogOptions{}).DoRaw(ctx)
	if err != nil {
		return "", fmt.Errorf("read log of pod %s: %w", name, err)
	}
	if seen.Status.Phase == corev1.PodFailed {
		return string(text), fmt.Errorf("pod %s: %s: %s", name, podWord(seen), text)
	}
	return string(text), pods.Delete(ctx, name, metav1.DeleteOptions{})
}

func podWord(pod *corev1.Pod) string {
	word := string(pod.Status.Phase) + " " + pod.Status.Message
	for _, status := range pod.Status.ContainerStatuses {
		if waiting := status.State.Waiting; waiting != nil {
			word += " " + waiting.Reason + " " + waiting.Message
		}
		if ended := status.State.Terminated; ended != nil {
			word += " " + ended.Reason + " " + ended.Message
		}
	}
	return word
}

func execute(ctx context.Context, hosted kubernetes.Interface, config *rest.Config, pod string, command ...string) (string, error) {
	request := hosted.CoreV1().RESTClient().Post().Resource("pods").Namespace(metav1.NamespaceDefault).Name(pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: "hello", Command: command, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	streaming := rest.CopyConfig(config)
	streaming.Timeout = 0
	executor, err := remotecommand.NewSPDYExecutor(streaming, "POST", request.URL())
	if err != nil {
		return "", fmt.Errorf("exec in %s: %w", pod, err)
	}
	var stdout, stderr bytes.Buffer
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
		return "", fmt.Errorf("exec in %s: %w: %s", pod, err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}
