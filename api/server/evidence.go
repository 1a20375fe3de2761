package server

import (
	"fmt"
	"net/http"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

func (s *Server) evidence(w http.ResponseWriter, r *http.Request) error {
	of := r.URL.Query().Get("of")
	if len(of) > 128 {
		return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%.32q... is no job and no peer", of), Try: "muster evidence"}
	}
	list, err := s.config.Evidence.Evidence(r.Context(), of)
	if err != nil {
		return err
	}
	answer := api.EvidenceList{Schema: api.SchemaEvidenceList, Evidence: append([]api.Evidence{}, list...)}
	for i := range answer.Evidence {
		answer.Evidence[i].Schema = api.SchemaEvidence
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (s *Server) proof(w http.ResponseWriter, r *http.Request) error {
	data, err := s.config.Evidence.EvidenceFile(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeBytes(w, api.TypeEvidence, "evidence", data)
	return nil
}
