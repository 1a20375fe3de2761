package server

import (
	"net/http"

	"github.com/muster-network/muster/api"
)

func (s *Server) certificate(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	data, err := s.config.Results.Certificate(r.Context(), id)
	if err != nil {
		return err
	}
	writeBytes(w, api.TypeCertificate, "job.cert", data)
	return nil
}

func (s *Server) bundle(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	data, err := s.config.Results.Bundle(r.Context(), id)
	if err != nil {
		return err
	}
	writeBytes(w, api.TypeBundle, "job.bundle", data)
	return nil
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) error {
	id, err := jobID(r)
	if err != nil {
		return err
	}
	follow := r.URL.Query().Get("follow") == "true"
	out := newStream(w, r)
	err = s.config.Results.Logs(r.Context(), id, follow, func(c api.LogChunk) error {
		c.Schema = api.SchemaLog
		return out.send("log", "", c)
	})
	return out.end(r, err)
}

// events follows what happens, from ?after= or a reconnecting browser's
// Last-Event-ID on.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	after := r.URL.Query().Get("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		after = last
	}
	out := newStream(w, r)
	if err := out.begin(); err != nil {
		return nil // nobody listens
	}
	err := s.config.Events.Follow(r.Context(), after, func(e api.Event) error {
		e.Schema = api.SchemaEvent
		return out.send(e.Type, e.ID, e)
	})
	return out.end(r, err)
}
