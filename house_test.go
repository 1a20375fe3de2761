// Package muster_test keeps the house in order: who may import whom, what a
// pure room may hold, and what a reader may expect of every file. The rules are
// explained in docs/architecture.md.
package muster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/muster-network/muster"

// rule says what the packages that match room may import of ours. A pattern is
// a package, or a folder with all below it when it ends in "/...". The first
// rule that matches counts; a package may always import what lies below it.
type rule struct {
	room string
	may  []string
}

var (
	agreement = []string{"consensus", "consensus/admission"}
	storage   = []string{"store/..."}
	codec     = []string{"store/dagcbor"}
	work      = slices.Concat(agreement, storage, []string{"jobs", "consensus/election"})
)

var rules = []rule{
	{"cmd/sim", []string{"consensus/sim"}},
	{"cmd/...", slices.Concat(agreement, []string{"testnet/...", "node/...", "api", "api/client", "jobs", "store/file"})},
	{"testnet/sim/...", slices.Concat(storage, []string{"consensus/...", "jobs/...", "p2p/..."})},
	{"testnet/...", []string{"testnet/...", "node/...", "api", "api/client", "jobs", "consensus/admission"}},
	{"node/...", slices.Concat(storage, []string{"node/...", "api", "api/server", "consensus/...", "jobs/...", "p2p/...", "web/...", "examples"})},
	{"api", []string{"jobs", "consensus"}},
	{"api/client/...", slices.Concat(agreement, []string{"api", "jobs", "consensus/election"})}, // it checks draws, too
	{"api/...", slices.Concat(agreement, []string{"api", "jobs"})},
	{"web/...", nil},
	{"jobs", slices.Concat(agreement, codec, []string{"consensus/election"})},
	{"jobs/backlog", nil},
	{"jobs/member/...", slices.Concat(work, []string{"jobs/backlog", "jobs/exec", "jobs/normal", "jobs/sched"})},
	{"jobs/submitter/...", slices.Concat(work, []string{"jobs/sched"})},
	{"jobs/controller/...", slices.Concat(work, []string{"jobs/flow", "jobs/trigger"})},
	{"jobs/exec", nil},
	{"jobs/exec/...", slices.Concat(codec, []string{"jobs/exec"})},
	{"jobs/...", work},
	{"consensus/admission", codec},
	{"consensus/runner/...", slices.Concat(agreement, codec, []string{"consensus/bft"})},
	{"consensus/sim/...", slices.Concat(agreement, codec, []string{"consensus/bft", "consensus/runner"})},
	{"consensus/...", slices.Concat(agreement, codec)},
	{"p2p/...", slices.Concat(codec, []string{"p2p/...", "consensus/admission", "store/file"})},
	{"store/...", []string{"store/..."}},
	{"examples/...", nil},
}

// pure lists the rooms, and the files of mixed rooms, that are given time and
// return events: they touch nothing outside themselves.
var pure = []string{
	"consensus", "consensus/admission", "consensus/election", "consensus/bft", "consensus/sim", "jobs", "jobs/normal", "jobs/sched",
	"consensus/runner/check.go", "consensus/runner/step.go", "consensus/runner/again.go",
	"consensus/runner/kept.go", "consensus/runner/stash.go",
}

// impure are what a pure room may not import, and selectors of what it may.
var (
	impure = []string{
		"context", "crypto/rand", "database/...", "io/fs", "log/...", "math/rand/...", "net/...", "os/...", "runtime/...", "sync/...", "syscall", "testing/...",
		"github.com/prometheus/...", "go.opentelemetry.io/...", "github.com/cockroachdb/...",
	}
	clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}
)

// pack is what go list tells of one package.
type pack struct {
	Dir            string
	ImportPath     string
	Doc            string
	Imports        []string
	GoFiles        []string
	CgoFiles       []string
	IgnoredGoFiles []string // of other systems
	TestGoFiles    []string
	XTestGoFiles   []string
}

// room returns the package's path inside the house, "." for its root.
func (p pack) room() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func (p pack) shippedFiles() []string {
	return slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles)
}

// isTest reports whether a package serves tests only: its path names it.
func isTest(room string) bool {
	return slices.ContainsFunc(strings.Split(room, "/"), func(part string) bool { return strings.HasSuffix(part, "test") })
}

// house lists the packages once. What does not compile is for the compiler to
// say, hence -e.
var house = sync.OnceValues(func() ([]pack, error) {
	out, err := exec.Command("go", "list", "-e", "-json=Dir,ImportPath,Doc,Imports,GoFiles,CgoFiles,IgnoredGoFiles,TestGoFiles,XTestGoFiles", "./...").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("go list: %s", exit.Stderr)
		}
		return nil, err
	}
	var packs []pack
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pack
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packs, nil
		} else if err != nil {
			return nil, err
		}
		if _, err := os.ReadDir(p.Dir); err != nil { // so that a new file ends a cached test result
			return nil, err
		}
		if p.room() != "" {
			packs = append(packs, p)
		}
	}
})

func packages(t *testing.T) []pack {
	t.Helper()
	packs, err := house()
	if err != nil {
		t.Fatal(err)
	}
	if len(packs) == 0 {
		t.Fatal("no packages: the test looks at nothing")
	}
	return packs
}

// matches reports whether a path is what a pattern names.
func matches(pattern, name string) bool {
	below, tree := strings.CutSuffix(pattern, "/...")
	return name == below || tree && strings.HasPrefix(name, below+"/")
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

func TestHouseRoomsImportOnlyTheRoomsTheyMay(t *testing.T) {
	for _, p := range packages(t) {
		if isTest(p.room()) {
			continue
		}
		i := slices.IndexFunc(rules, func(r rule) bool { return matches(r.room, p.room()) })
		if i < 0 {
			t.Errorf("no rule says what %s may import", p.room())
			continue
		}
		for _, imported := range p.Imports {
			other, ours := strings.CutPrefix(imported, module+"/")
			if ours && !matchesAny(rules[i].may, other) && !matches(p.room()+"/...", other) {
				t.Errorf("%s imports %s, and may not", p.room(), other)
			}
		}
	}
}

func TestHouseTheInnerRoomsKnowOfLibp2pOnlyWhatAPeerIs(t *testing.T) {
	for _, p := range packages(t) {
		may := []string{"core/peer"}
		switch room := p.room(); {
		case isTest(room) || !matchesAny([]string{"jobs/...", "consensus/...", "store/..."}, room):
			continue
		case room == "store/exchange":
			may = append(may, "core/host", "core/protocol") // Bitswap runs on a host, under the network's own protocol ids
		case room == "consensus/admission":
			may = append(may, "core/crypto") // the key inside a peer id
		}
		for _, imported := range p.Imports {
			part, libp2p := strings.CutPrefix(imported, "github.com/libp2p/go-libp2p/")
			if (libp2p || strings.HasPrefix(imported, "github.com/libp2p/")) && !slices.Contains(may, part) {
				t.Errorf("%s imports %s, and may not", p.room(), imported)
			}
		}
	}
}

func TestHouseShippedCodeImportsNoTestPackage(t *testing.T) {
	for _, p := range packages(t) {
		if isTest(p.room()) {
			continue
		}
		for _, imported := range p.Imports {
			other, ours := strings.CutPrefix(imported, module+"/")
			if ours && isTest(other) || matches("testing/...", imported) || matches("pgregory.net/rapid", imported) {
				t.Errorf("%s imports %s, which is for tests", p.room(), imported)
			}
		}
	}
}

func TestHousePureRoomsTouchNothingOutsideThemselves(t *testing.T) {
	found := map[string]bool{}
	eachFile(t, func(p pack, name string, file *ast.File, at func(ast.Node) string) {
		here := p.room()
		if !slices.Contains(pure, here) {
			here = path.Join(p.room(), name)
			if !slices.Contains(pure, here) {
				return
			}
		}
		found[here] = true
		for _, imported := range file.Imports {
			if name := importPath(imported); matchesAny(impure, name) {
				t.Errorf("%s: %s is pure, and imports %s", at(imported), here, name)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: %s is pure, and starts a goroutine", at(n), here)
			case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s: %s is pure, and uses a channel", at(n), here)
			case *ast.SelectorExpr:
				if selects(file, n, "time", clocks) {
					t.Errorf("%s: %s is pure, and reads the clock: time.%s", at(n), here, n.Sel.Name)
				}
			}
			return true
		})
	})
	for _, room := range pure {
		if !found[room] {
			t.Errorf("%s is listed as pure, and is not there", room)
		}
	}
}

func TestHouseOnlyCommandAndNodeReadFlagsAndEnvironment(t *testing.T) {
	flags := []string{"flag", "github.com/spf13/...", "github.com/knadh/..."}
	environment := []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Args"}
	eachFile(t, func(p pack, _ string, file *ast.File, at func(ast.Node) string) {
		if matchesAny([]string{"cmd/...", "node/...", "examples/..."}, p.room()) {
			return
		}
		for _, imported := range file.Imports {
			if name := importPath(imported); matchesAny(flags, name) {
				t.Errorf("%s: %s reads flags: it imports %s", at(imported), p.room(), name)
			}
		}
		read := environment
		if matches("testnet/...", p.room()) {
			read = []string{"Getenv", "LookupEnv", "ExpandEnv", "Args"} // it hands its environment on to processes
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && selects(file, s, "os", read) {
				t.Errorf("%s: %s reads what surrounds the process: os.%s", at(n), p.room(), s.Sel.Name)
			}
			return true
		})
	})
}

func TestHouseFilesAreShortAndBeginNothingByThemselves(t *testing.T) {
	const longest, longestTest = 500, 700 // lines
	names := []string{"util", "utils", "common", "models", "types", "helpers", "lib", "misc", "base"}
	for _, p := range packages(t) {
		if slices.Contains(names, path.Base(p.room())) {
			t.Errorf("%s: a package is named for what it does", p.room())
		}
		for _, name := range slices.Concat(p.shippedFiles(), p.TestGoFiles, p.XTestGoFiles) {
			most := longest
			if strings.HasSuffix(name, "_test.go") {
				most = longestTest
			}
			if n := lines(t, filepath.Join(p.Dir, name)); n > most {
				t.Errorf("%s/%s has %d lines, at most %d", p.room(), name, n, most)
			}
		}
	}
	eachFile(t, func(p pack, _ string, file *ast.File, at func(ast.Node) string) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: %s has an init", at(f), p.room())
			}
		}
	})
}

func TestHousePackagesAndPublicNamesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package documentation", p.room())
		}
	}
	eachFile(t, func(p pack, _ string, file *ast.File, at func(ast.Node) string) {
		if file.Name.Name == "main" {
			return
		}
		for _, n := range undocumented(file) {
			t.Errorf("%s: a public name without a word on what it promises", at(n))
		}
	})
}

// undocumented returns the public declarations of a file that have no comment.
// One comment may serve a group.
func undocumented(file *ast.File) []ast.Node {
	var nodes []ast.Node
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || ast.IsExported(receiver(d))) {
				nodes = append(nodes, d)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
						nodes = append(nodes, s)
					}
				case *ast.ValueSpec:
					public := slices.ContainsFunc(s.Names, func(n *ast.Ident) bool { return n.IsExported() })
					if public && s.Doc == nil && s.Comment == nil && d.Doc == nil {
						nodes = append(nodes, s)
					}
				}
			}
		}
	}
	return nodes
}

func receiver(f *ast.FuncDecl) string {
	e := f.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// eachFile visits the shipped files of the house; at says where a node stands.
func eachFile(t *testing.T, visit func(p pack, name string, file *ast.File, at func(ast.Node) string)) {
	t.Helper()
	for _, p := range packages(t) {
		if isTest(p.room()) {
			continue
		}
		for _, name := range p.shippedFiles() {
			files := token.NewFileSet()
			file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			visit(p, name, file, func(n ast.Node) string {
				return fmt.Sprintf("%s/%s:%d", p.room(), name, files.Position(n.Pos()).Line)
			})
		}
	}
}

func importPath(s *ast.ImportSpec) string {
	name, err := strconv.Unquote(s.Path.Value)
	if err != nil {
		return s.Path.Value
	}
	return name
}

// selects reports whether s takes one of names from a package of the standard
// library, under whatever name the file imports it.
func selects(file *ast.File, s *ast.SelectorExpr, pkg string, names []string) bool {
	x, ok := s.X.(*ast.Ident)
	if !ok || !slices.Contains(names, s.Sel.Name) {
		return false
	}
	return slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool {
		local := path.Base(importPath(i))
		if i.Name != nil {
			local = i.Name.Name
		}
		return importPath(i) == pkg && local == x.Name
	})
}

func lines(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(data, []byte("\n"))
}
