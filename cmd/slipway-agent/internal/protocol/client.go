// Package protocol is the agent's side of the REST protocol with the appliance.
package protocol

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-io/slipway/services/agentapi/wire"
)

// Patience is how long a poll may wait on the line.
const Patience = 25 * time.Second

// Refused is an answer other than success.
type Refused struct {
	Status int
	Reason string
}

func (r *Refused) Error() string {
	return fmt.Sprintf("refused with status %d: %s", r.Status, r.Reason)
}

// Status is the HTTP status of an error, 0 when there was no answer.
func Status(err error) int {
	var refused *Refused
	if errors.As(err, &refused) {
		return refused.Status
	}
	return 0
}

// Client speaks for one host.
type Client struct {
	base, infraEnv, host, token string
	// approval is shown to the policies that may approve this host.
	approval string
	http     *http.Client
}

// New checks its input; ca is the PEM that alone is trusted.
func New(base, infraEnv, host, token string, ca []byte) (*Client, error) {
	parsed, err := url.Parse(base)
	if err != nil || parsed.Scheme != "https" || parsed.Host == "" {
		return nil, fmt.Errorf("url %q is not https://<address>", base)
	}
	if token == "" {
		return nil, errors.New("there is no token (PULL_SECRET_TOKEN)")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the CA file holds no certificate")
	}
	return &Client{
		base: strings.TrimSuffix(base, "/"), infraEnv: infraEnv, host: host, token: token,
		http: &http.Client{Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
			DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: false,
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		}},
	}, nil
}

// Show has every request carry the token for approval policies.
func (c *Client) Show(approval string) { c.approval = approval }

// HTTP is the pinned client, for downloads.
func (c *Client) HTTP() *http.Client { return c.http }

// Host is the id that the client speaks for.
func (c *Client) Host() string { return c.host }

func (c *Client) hosts() string {
	return c.base + wire.BasePath + "/v2/infra-envs/" + url.PathEscape(c.infraEnv) + "/hosts"
}

func (c *Client) path(rest string) string { return c.hosts() + "/" + url.PathEscape(c.host) + rest }

// Register announces the host.
func (c *Client) Register(ctx context.Context, version string, macs []string) (wire.RegisterResponse, error) {
	var response wire.RegisterResponse
	err := c.do(ctx, http.MethodPost, c.hosts(), wire.RegisterRequest{HostID: c.host, AgentVersion: version, MACs: macs}, &response, 20*time.Second)
	if err != nil {
		return response, fmt.Errorf("register host %s: %w", c.host, err)
	}
	return response, nil
}

// Poll waits for the next steps.
func (c *Client) Poll(ctx context.Context, now time.Time) (wire.Steps, error) {
	var steps wire.Steps
	at := c.path("/instructions?timestamp=" + strconv.FormatInt(now.Unix(), 10))
	if err := c.do(ctx, http.MethodGet, at, nil, &steps, Patience+15*time.Second); err != nil {
		return steps, fmt.Errorf("ask for instructions: %w", err)
	}
	return steps, nil
}

// Reply tells what came of a step.
func (c *Client) Reply(ctx context.Context, reply wire.StepReply) error {
	if err := c.do(ctx, http.MethodPost, c.path("/instructions"), reply, nil, 20*time.Second); err != nil {
		return fmt.Errorf("reply to step %s: %w", reply.ID, err)
	}
	return nil
}

// Progress reports a stage.
func (c *Client) Progress(ctx context.Context, stage, info string) error {
	if err := c.do(ctx, http.MethodPut, c.path("/progress"), wire.ProgressRequest{Stage: stage, Info: info}, nil, 10*time.Second); err != nil {
		return fmt.Errorf("report stage %s: %w", stage, err)
	}
	return nil
}

// Ignition fetches the config that goes onto the disk.
func (c *Client) Ignition(ctx context.Context) ([]byte, error) {
	var config json.RawMessage
	if err := c.do(ctx, http.MethodGet, c.path("/downloads/ignition"), nil, &config, 20*time.Second); err != nil {
		return nil, fmt.Errorf("download host ignition: %w", err)
	}
	return config, nil
}

// answerLimit bounds what is read of an answer.
const answerLimit = 16 << 20

func (c *Client) do(ctx context.Context, method, at string, body, into any, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var content io.Reader = http.NoBody
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		content = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, at, content)
	if err != nil {
		return err
	}
	request.Header.Set(wire.SecretHeader, c.token)
	if c.approval != "" {
		request.Header.Set(wire.ApprovalHeader, c.approval)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodGet {
		request.Header.Set(wire.PreferHeader, "wait="+strconv.Itoa(int(Patience/time.Second)))
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode >= http.StatusMultipleChoices {
		return refused(response.StatusCode, data)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return nil
}

func refused(status int, data []byte) error {
	var problem wire.Problem
	if err := json.Unmarshal(data, &problem); err != nil || problem.Reason == "" {
		problem.Reason = http.StatusText(status)
	}
	return &Refused{Status: status, Reason: problem.Reason}
}
