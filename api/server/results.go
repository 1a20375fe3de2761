package server

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
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
	q := r.URL.Query()
	o := LogOptions{Follow: q.Get("follow") == "true", Member: q.Get("member")}
	out := newStream(w, r)
	err = s.config.Results.Logs(r.Context(), id, o, func(c api.LogChunk) error {
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
	if err := checkEventID(after); err != nil {
		return err
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

// checkEventID refuses what cannot be the id of an event, incarnation/number,
// while that can still be answered with a status.
func checkEventID(after string) error {
	life, number, ok := strings.Cut(after, "/")
	_, err := strconv.ParseUint(number, 10, 64)
	if after == "" || after == "0" || ok && life != "" && err == nil {
		return nil
	}
	return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%.64q is no event id", after), Try: "the id of the last event seen, or 0"}
}
