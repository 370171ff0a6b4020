package nodepool

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	hypershiftv1beta1 "github.com/openshift/hypershift/api/hypershift/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/slipway-io/slipway/services/controllers/guest"
)

// Keys of the Secret that keeps a pool's bootstrap token.
const (
	keyTokenID     = "token-id"
	keyTokenSecret = "token-secret"
	keyExpiration  = "expiration"
)

// A bootstrap token lives for a day and is followed by the next one at half of it: a host that was just told one can use it for long.
const (
	tokenLife  = 24 * time.Hour
	tokenRenew = tokenLife / 2
)

func bootstrapName(pool *hypershiftv1beta1.NodePool) string { return "bootstrap-" + pool.Name }

// currentToken keeps a token that is good for a while longer, or makes another; left is the time until the next one.
func currentToken(data map[string][]byte, now time.Time) (next map[string][]byte, left time.Duration) {
	expires, err := time.Parse(time.RFC3339, string(data[keyExpiration]))
	if err == nil && len(data[keyTokenID]) == 6 && len(data[keyTokenSecret]) == 16 && expires.Sub(now) > tokenRenew {
		return data, expires.Sub(now) - tokenRenew
	}
	text := strings.ToLower(rand.Text())
	return map[string][]byte{
		keyTokenID: []byte(text[:6]), keyTokenSecret: []byte(text[6:22]),
		keyExpiration: []byte(now.Add(tokenLife).UTC().Format(time.RFC3339)),
	}, tokenLife - tokenRenew
}

// keepBootstrapToken keeps the pool's token here and makes it valid in the hosted cluster; false when that does not answer yet.
func (r *Reconciler) keepBootstrapToken(ctx context.Context, s *scope) (bool, error) {
	secret := s.secret(bootstrapName(s.pool))
	_, err := controllerutil.CreateOrPatch(ctx, r.Client, secret, func() error {
		s.mark(secret, nil)
		next, left := currentToken(secret.Data, r.Now())
		secret.Data = next
		s.soon(left)
		return nil
	})
	if err != nil {
		return false, wrap(err, "write bootstrap token")
	}
	expires, err := time.Parse(time.RFC3339, string(secret.Data[keyExpiration]))
	if err != nil {
		return false, wrap(err, "read expiration of bootstrap token")
	}
	err = r.Guests.KeepToken(ctx, client.ObjectKeyFromObject(s.plane), guest.Token{
		ID: string(secret.Data[keyTokenID]), Secret: string(secret.Data[keyTokenSecret]), Expires: expires,
		Description: "Nodes of NodePool " + poolKey(s.pool),
	})
	switch {
	case err == nil:
		return true, nil
	case s.isTrue(hypershiftv1beta1.NodePoolValidGeneratedPayloadConditionType):
		// A hosted API that restarts holds up nothing: the token is there, or will be when the next look comes.
		log.FromContext(ctx).Info("bootstrap token", "err", err.Error())
		s.soon(recheck)
		return true, nil
	}
	s.no(hypershiftv1beta1.NodePoolValidGeneratedPayloadConditionType, reasonWaitingForControlPlane, err.Error())
	s.soon(time.Second)
	return false, nil
}

// dropBootstrapToken ends the pool's token; in a hosted cluster that does not answer it expires by itself.
func (r *Reconciler) dropBootstrapToken(ctx context.Context, s *scope) error {
	secret := s.secret(bootstrapName(s.pool))
	if err := r.Client.Get(ctx, client.ObjectKeyFromObject(secret), secret); err != nil {
		return wrap(client.IgnoreNotFound(err), "read bootstrap token")
	}
	cluster := client.ObjectKey{Namespace: s.namespace(), Name: s.pool.Spec.ClusterName}
	if err := r.Guests.DropToken(ctx, cluster, string(secret.Data[keyTokenID])); err != nil {
		log.FromContext(ctx).Info("bootstrap token is left to expire", "err", err.Error())
	}
	return nil
}
