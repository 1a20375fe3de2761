package server

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/muster-network/muster/api"
)

// describe answers with the OpenAPI document. huma makes it from the routes and
// the Go types when it is first asked for: a node that nobody asks pays nothing.
// The requests themselves do not pass through huma, whose errors have another
// form, set for a whole process, and which decodes each body twice.
func (s *Server) describe(w http.ResponseWriter, _ *http.Request) error {
	data, err := s.openAPI()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", api.TypeJSON)
	_, _ = w.Write(data)
	return nil
}

func (s *Server) document() ([]byte, error) {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	problem := &huma.MediaType{Schema: registry.Schema(reflect.TypeFor[api.Problem](), true, "")}
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{Title: "muster", Version: s.config.Version,
			Description: "A peer-to-peer job network: jobs in, certified results out. Any node answers for any job."},
		Components: &huma.Components{
			Schemas:         registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "Over TCP; a node's unix socket needs none."}},
		},
		Paths: map[string]*huma.PathItem{},
	}
	for _, r := range s.routes() {
		op := operation(r, registry)
		op.Responses["default"] = &huma.Response{Description: "A problem", Content: map[string]*huma.MediaType{api.TypeProblem: problem}}
		item := doc.Paths[openPath(r.path)]
		if item == nil {
			item = new(huma.PathItem)
			doc.Paths[openPath(r.path)] = item
		}
		switch r.method {
		case http.MethodGet:
			item.Get = op
		case http.MethodPost:
			item.Post = op
		case http.MethodDelete:
			item.Delete = op
		}
	}
	return json.Marshal(doc)
}

func operation(r route, registry huma.Registry) *huma.Operation {
	op := &huma.Operation{OperationID: operationID(r), Summary: r.about, Responses: map[string]*huma.Response{}}
	if r.scope != ScopeNone {
		op.Security = []map[string][]string{{"token": {}}}
	}
	text := &huma.Schema{Type: huma.TypeString}
	for _, name := range pathParam.FindAllStringSubmatch(r.path, -1) {
		op.Parameters = append(op.Parameters, &huma.Param{Name: name[1], In: "path", Required: true, Schema: text})
	}
	for _, p := range r.params {
		in := "query"
		if p.name != strings.ToLower(p.name) {
			in = "header"
		}
		op.Parameters = append(op.Parameters, &huma.Param{Name: p.name, In: in, Description: p.about, Schema: text})
	}
	if r.in != nil || r.bodies != nil {
		op.RequestBody = &huma.RequestBody{Required: true, Content: content(r.in, r.bodies, registry)}
	}
	status := r.status
	if status == 0 {
		status = http.StatusOK
	}
	op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status), Content: content(r.out, r.answers, registry)}
	return op
}

func content(t reflect.Type, others []string, registry huma.Registry) map[string]*huma.MediaType {
	all := map[string]*huma.MediaType{}
	if t != nil {
		all[api.TypeJSON] = &huma.MediaType{Schema: registry.Schema(t, true, "")}
	}
	for _, other := range others {
		all[other] = &huma.MediaType{}
	}
	return all
}

var pathParam = regexp.MustCompile(`\{([a-z]+)(?:\.\.\.)?\}`)

// openPath writes a mux pattern as OpenAPI does.
func openPath(path string) string { return strings.ReplaceAll(path, "...}", "}") }

func operationID(r route) string {
	words := strings.FieldsFunc(strings.TrimPrefix(r.path, "/v1"), func(c rune) bool { return strings.ContainsRune("/{}.", c) })
	return strings.ToLower(r.method) + "-" + strings.Join(words, "-")
}

// schemaName keeps the types of package jobs apart from envelopes of the same name.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if strings.HasSuffix(t.PkgPath(), "/jobs") {
		return "Job" + strings.TrimPrefix(name, "Job")
	}
	return name
}
