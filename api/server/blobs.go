package server

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/muster-network/muster/api"
	"github.com/muster-network/muster/jobs"
)

// putBlob stores the body: a folder if it is a tar stream, else a file.
func (s *Server) putBlob(w http.ResponseWriter, r *http.Request) error {
	body := http.MaxBytesReader(w, r.Body, s.config.MaxBlob)
	put := s.config.Blobs.PutFile
	if strings.HasPrefix(r.Header.Get("Content-Type"), api.TypeTar) {
		put = s.config.Blobs.PutTree
	}
	blob, err := put(r.Context(), body)
	if err != nil {
		return err
	}
	blob.Schema = api.SchemaBlob
	w.Header().Set("Location", api.PathBlobs+"/"+blob.CID)
	return writeJSON(w, http.StatusCreated, blob)
}

// getBlob answers with a file's bytes (Range works), a folder's entries, or,
// with ?format=raw, one block as it is stored.
func (s *Server) getBlob(w http.ResponseWriter, r *http.Request) error {
	text, path := r.PathValue("cid"), r.PathValue("path")
	c, err := cid.Decode(text)
	if err != nil {
		return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("%.128q is not a CID", text)}
	}
	if format := r.URL.Query().Get("format"); format == "raw" && path == "" {
		data, err := s.config.Blobs.Block(r.Context(), c.String())
		if err != nil {
			return err
		}
		writeBytes(w, api.TypeBlock, c.String(), data)
		return nil
	} else if format != "" {
		return &jobs.Problem{Code: jobs.CodeUsage, What: fmt.Sprintf("format %.32q is not known here", format), Try: "format=raw, of a CID without a path"}
	}
	if path = strings.TrimSuffix(path, "/"); path != "" {
		if err := jobs.CheckPath(path); err != nil {
			return &jobs.Problem{Code: jobs.CodeUsage, What: err.Error()}
		}
	}
	blob, err := s.config.Blobs.Open(r.Context(), c.String(), path)
	if err != nil {
		return err
	}
	if blob.Content == nil {
		return writeJSON(w, http.StatusOK, api.Blob{Schema: api.SchemaBlob, CID: blob.CID, Size: blob.Size, Entries: blob.Entries})
	}
	defer func() { _ = blob.Content.Close() }()
	h := w.Header()
	h.Set("ETag", `"`+blob.CID+`"`)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	// What a job wrote must never run as a page of this node.
	h.Set("Content-Type", "application/octet-stream")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox")
	http.ServeContent(w, r, "", time.Time{}, blob.Content)
	return nil
}
