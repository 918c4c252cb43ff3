package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/penstock-io/penstock/cloudhub/client"
	"github.com/penstock-io/penstock/cloudhub/registry"
	"github.com/penstock-io/penstock/identity"
)

func (a *API) devices(w http.ResponseWriter, _ *http.Request) {
	all := []client.Device{}
	for _, d := range a.Registry.List() {
		all = append(all, shown(d, false))
	}
	answer(w, http.StatusOK, all)
}

func (a *API) device(w http.ResponseWriter, r *http.Request) {
	d, ok := a.Registry.Device(r.PathValue("id"))
	if !ok {
		a.fail(w, registry.ErrNotFound)
		return
	}
	keys, _ := strconv.ParseBool(r.URL.Query().Get("keys"))
	answer(w, http.StatusOK, shown(d, keys))
}

func (a *API) putDevice(w http.ResponseWriter, r *http.Request) {
	var d client.Device
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	in.DisallowUnknownFields()
	if err := in.Decode(&d); err != nil {
		problem(w, http.StatusBadRequest, "read device: "+err.Error())
		return
	}
	if id := r.PathValue("id"); d.ID == "" {
		d.ID = id
	} else if d.ID != id {
		problem(w, http.StatusBadRequest, "the id in the body is not the one in the address")
		return
	}
	switch d.Status {
	case "", client.Enabled, client.Disabled:
	default:
		problem(w, http.StatusUnprocessableEntity, `status is "enabled" or "disabled"`)
		return
	}
	stored, created, err := a.Registry.Put(r.Context(), meant(d))
	if err != nil {
		a.fail(w, err)
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	answer(w, status, shown(stored, true))
}

func (a *API) deleteDevice(w http.ResponseWriter, r *http.Request) {
	if err := a.Registry.Delete(r.Context(), r.PathValue("id")); err != nil {
		a.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func shown(d *identity.Device, keys bool) client.Device {
	key := func(s identity.Secret) string {
		if !keys {
			return ""
		}
		return s.Reveal()
	}
	out := client.Device{
		ID: d.ID, Key: key(d.Key), SecondaryKey: key(d.SecondaryKey), Thumbprints: d.Thumbprints,
		CA: d.CA, Edge: d.Edge, Parent: d.Parent, Status: client.Enabled, Groups: d.Groups,
	}
	if d.Disabled {
		out.Status = client.Disabled
	}
	for _, m := range d.Modules {
		out.Modules = append(out.Modules, client.Module{ID: m.ID, Key: key(m.Key), SecondaryKey: key(m.SecondaryKey), Thumbprints: m.Thumbprints})
	}
	return out
}

func meant(d client.Device) identity.Device {
	out := identity.Device{
		ID: d.ID, Key: identity.Secret(d.Key), SecondaryKey: identity.Secret(d.SecondaryKey), Thumbprints: d.Thumbprints,
		CA: d.CA, Edge: d.Edge, Parent: d.Parent, Disabled: d.Status == client.Disabled, Groups: d.Groups,
	}
	for _, m := range d.Modules {
		out.Modules = append(out.Modules, identity.Module{
			ID: m.ID, Key: identity.Secret(m.Key), SecondaryKey: identity.Secret(m.SecondaryKey), Thumbprints: m.Thumbprints,
		})
	}
	return out
}
