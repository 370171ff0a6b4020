package redfish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/slipway-io/slipway/services/bmc"
)

// slot is one VirtualMedia of the CD kind.
type slot struct {
	ID         string `json:"@odata.id"`
	Name       string `json:"Id"`
	Image      *string
	Inserted   *bool
	MediaTypes []string
	Actions    struct {
		Insert action `json:"#VirtualMedia.InsertMedia"`
		Eject  action `json:"#VirtualMedia.EjectMedia"`
	}
}

type action struct {
	Target string `json:"target"`
}

func (s slot) inserted() bool {
	return s.Inserted != nil && *s.Inserted || s.Inserted == nil && s.Image != nil && *s.Image != ""
}

// insertion is what the insert ladder knows, and what refusals asked for.
type insertion struct {
	slot  slot
	url   string
	asked *asked
}

type asked struct{ protocol, method, account, some bool }

// refused notes what the BMC misses; one that says nothing in particular may miss anything.
func (i insertion) refused(answer *reply) {
	general := answer.says("GeneralError", "InternalError") || len(answer.error().ExtendedInfos) == 0
	i.asked.protocol = i.asked.protocol || general || answer.names("TransferProtocolType")
	i.asked.method = i.asked.method || general || answer.names("TransferMethod")
	i.asked.account = i.asked.account || answer.names("UserName") || answer.names("Password")
	i.asked.some = true
}

func (i insertion) insertable() bool { return i.slot.Actions.Insert.Target != "" }

func (i insertion) body(protocol, method, account bool) map[string]any {
	body := map[string]any{"Image": i.url}
	if protocol {
		scheme, _, _ := strings.Cut(i.url, ":")
		body["TransferProtocolType"] = strings.ToUpper(scheme)
	}
	if method {
		body["TransferMethod"] = "Stream"
	}
	if account {
		body["UserName"], body["Password"] = "none", "none"
	}
	return body
}

func insertRung(name, source string, offers func(insertion) bool, body func(insertion) map[string]any) rung[insertion] {
	return rung[insertion]{
		name: name, source: source, method: http.MethodPost, path: func(i insertion) string { return i.slot.Actions.Insert.Target },
		offers: func(i insertion) bool { return i.insertable() && (offers == nil || offers(i)) }, body: body,
	}
}

// insertMedia is the ladder for one slot, bmc.md §2.5.
var insertMedia = []rung[insertion]{
	insertRung("InsertMedia: Image", "Supermicro X11 and X12 refuse Inserted and WriteProtected (sushy)", nil,
		func(i insertion) map[string]any { return i.body(false, false, false) }),
	insertRung("InsertMedia: Image, TransferProtocolType", "Nokia", func(i insertion) bool { return i.asked.protocol },
		func(i insertion) map[string]any { return i.body(true, false, false) }),
	insertRung("InsertMedia: Image, TransferProtocolType, TransferMethod", "BMCs that want both (sushy)", func(i insertion) bool { return i.asked.method },
		func(i insertion) map[string]any { return i.body(true, true, false) }),
	insertRung("InsertMedia: with UserName, Password", "NVIDIA DGX asks for them, any value (LP 2071945)", func(i insertion) bool { return i.asked.account },
		func(i insertion) map[string]any { return i.body(i.asked.protocol, i.asked.method, true) }),
	insertRung("InsertMedia: Image, Inserted, WriteProtected", "BMCs that take no defaults (bmclib's first)", func(i insertion) bool { return i.asked.some },
		func(i insertion) map[string]any {
			return map[string]any{"Image": i.url, "Inserted": true, "WriteProtected": true}
		}),
	{
		name: "PATCH: Image, Inserted, WriteProtected", source: "Lenovo XCC and SD530 have no action (sushy)",
		method: http.MethodPatch, ifMatch: true, path: func(i insertion) string { return i.slot.ID },
		body: func(i insertion) map[string]any {
			return map[string]any{"Image": i.url, "Inserted": true, "WriteProtected": true}
		},
	},
}

// ejectMedia is the ladder for one slot.
var ejectMedia = []rung[insertion]{
	{
		name: "EjectMedia: {}", source: "HPE refuses an empty body (sushy release note)", method: http.MethodPost,
		offers: func(i insertion) bool { return i.slot.Actions.Eject.Target != "" },
		path:   func(i insertion) string { return i.slot.Actions.Eject.Target },
		body:   func(insertion) map[string]any { return map[string]any{} },
	},
	{
		name: "PATCH: Image null, Inserted false", source: "Lenovo XCC (sushy)", method: http.MethodPatch, ifMatch: true,
		path: func(i insertion) string { return i.slot.ID },
		body: func(insertion) map[string]any { return map[string]any{"Image": nil, "Inserted": false} },
	},
}

// InsertMedia has the BMC show url as a CD. What was inserted before is ejected: an equal URL proves nothing, iDRAC says
// Inserted for seconds after an eject.
func (c *Client) InsertMedia(ctx context.Context, url string) (string, error) {
	if strings.ContainsAny(url, "?=&") {
		c.shared.log.Debug("some BMCs refuse a URL with ?, = or &, such as Supermicro's X12")
	}
	slots, err := c.currentSlots(ctx)
	if err != nil {
		return "", fmt.Errorf("insert media: %w", err)
	}
	for _, one := range slots {
		if one.inserted() {
			if err := c.eject(ctx, one); err != nil {
				c.shared.log.Debug("eject before insert", "err", err)
			}
		}
	}
	last := error(&bmc.Fault{Kind: bmc.Unsupported, Err: errors.New("insert media: the BMC has no virtual CD")})
	for _, one := range slots {
		known := insertion{slot: one, url: url, asked: &asked{}}
		rung, err := climb(ctx, c, "insert media", insertMedia, func() insertion { return known }, func(ctx context.Context, answer *reply) (bool, error) {
			return c.inserted(ctx, one, answer)
		})
		if err == nil {
			return place(one) + " " + rung, nil
		}
		last = err
		// The next slot may be understood where this one is not (Cisco's vKVM, OpenBMC's web sockets).
		if bmc.Kind(err) != bmc.Unsupported {
			break
		}
	}
	return "", last
}

func place(s slot) string {
	if strings.HasPrefix(s.ID, "/redfish/v1/Managers/") {
		return "Manager"
	}
	return "System"
}

// inserted awaits the medium.
func (c *Client) inserted(ctx context.Context, one slot, answer *reply) (bool, error) {
	if err := c.finish(ctx, answer); err != nil {
		return false, err
	}
	for waited, step := time.Duration(0), time.Second; waited < 15*time.Second; waited, step = waited+step, min(2*step, 4*time.Second) {
		var now slot
		if _, err := c.get(ctx, one.ID, &now); err != nil && bmc.Kind(err) != bmc.Busy {
			return false, err
		}
		if now.inserted() {
			return true, nil
		}
		if err := c.shared.wait(ctx, step); err != nil {
			return false, err
		}
	}
	return false, &bmc.Fault{Kind: bmc.Media, Err: errors.New("the BMC accepted the medium and does not show it: it cannot read the URL, look at routes, names and certificates as the BMC sees them")}
}

// EjectMedia from every virtual CD, at System and Manager.
func (c *Client) EjectMedia(ctx context.Context) error {
	slots, err := c.currentSlots(ctx)
	if err != nil {
		return fmt.Errorf("eject media: %w", err)
	}
	for _, one := range slots {
		if one.inserted() {
			if err := c.eject(ctx, one); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Client) eject(ctx context.Context, one slot) error {
	known := insertion{slot: one, asked: &asked{}}
	_, err := climb(ctx, c, "eject media", ejectMedia, func() insertion { return known }, func(ctx context.Context, answer *reply) (bool, error) {
		return true, c.finish(ctx, answer)
	})
	if err == nil {
		return nil
	}
	var now slot
	if _, readError := c.get(ctx, one.ID, &now); readError == nil && !now.inserted() {
		return nil
	}
	return err
}

// Media that are inserted, as URLs the BMC tells; one that it hides is an empty string.
func (c *Client) Media(ctx context.Context) ([]string, error) {
	slots, err := c.currentSlots(ctx)
	if err != nil {
		return nil, fmt.Errorf("read media: %w", err)
	}
	var images []string
	for _, one := range slots {
		if one.inserted() {
			image := ""
			if one.Image != nil {
				image = *one.Image
			}
			images = append(images, image)
		}
	}
	return images, nil
}

func (c *Client) currentSlots(ctx context.Context) ([]slot, error) {
	s, err := c.system(ctx)
	if err != nil {
		return nil, err
	}
	return c.slots(ctx, s)
}

// slots for a CD: the System's before the Managers', external ones before the BMC's own store (Lenovo's RDOC).
func (c *Client) slots(ctx context.Context, s *system) ([]slot, error) {
	collections := []string{}
	if s.VirtualMedia.ID != "" {
		collections = append(collections, s.VirtualMedia.ID)
	}
	for _, manager := range s.managers() {
		var m struct{ VirtualMedia ref }
		if _, err := c.get(ctx, manager.ID, &m); err != nil {
			return nil, err
		}
		if m.VirtualMedia.ID != "" && !slices.Contains(collections, m.VirtualMedia.ID) {
			collections = append(collections, m.VirtualMedia.ID)
		}
	}
	var first, last []slot
	for _, collection := range collections {
		members, err := c.members(ctx, collection)
		if err != nil {
			return nil, err
		}
		for _, member := range members {
			var one slot
			if _, err := c.get(ctx, member, &one); err != nil {
				return nil, err
			}
			one.ID = member
			switch {
			case !slices.ContainsFunc(one.MediaTypes, func(kind string) bool { return kind == "CD" || kind == "DVD" }):
			case strings.HasPrefix(one.Name, "RDOC"):
				last = append(last, one)
			default:
				first = append(first, one)
			}
		}
	}
	return append(first, last...), nil
}
