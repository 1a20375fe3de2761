package wasm

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/muster-network/muster/jobs/exec"
)

// Bounds of a module. They keep what the engine allocates for it, apart from
// the linear memory that is limited for each run, to a known size.
const (
	maxModule    = 64 << 20 // bytes
	maxTypes     = 1 << 16
	maxFunctions = 1 << 20
	maxTable     = 1 << 20 // entries of each table
	maxTables    = 16
	pageSize     = 64 << 10 // bytes of a page of linear memory
)

// Section ids of a module, in the order of the binary format (WebAssembly
// core specification 2.0, section 5.5.2).
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
)

// Value types and other bytes of the binary format.
const (
	typeI32     = 0x7f
	typeI64     = 0x7e
	typeFuncRef = 0x70
	typeExtern  = 0x6f
	typeFunc    = 0x60
)

// module is what decode learns of a program.
type module struct {
	types     []signature
	functions []uint32 // type indices: imported ones first
	imported  int      // how many of functions are imported
	pages     uint32   // initial size of the linear memory
	memory    bool
	floating  bool // some instruction computes with floats or vectors
	growsTab  bool // table.grow occurs
	tables    []table
	start     *signature // of export "_start", or nil
}

type table struct {
	low, high uint32 // entries at the start, and at most when bounded
	bounded   bool
}

// class returns the determinism class of a decoded module on this machine
// (protocol, section 5).
func (m *module) class() exec.Class {
	if m.floating {
		return exec.Arch(runtime.GOARCH)
	}
	return exec.Portable
}

// decode reads a module's structure: every section that says what the module
// asks for, and every instruction. It does not type-check function bodies; the
// engine does that when it compiles, and what fails there ends as a trap.
func decode(data []byte) (*module, error) {
	if len(data) > maxModule {
		return nil, fmt.Errorf("module has %d bytes, at most %d are taken", len(data), maxModule)
	}
	r := &reader{data: data}
	if magic, err := r.take(8); err != nil || string(magic) != "\x00asm\x01\x00\x00\x00" {
		return nil, errors.New("not a WebAssembly module of version 1")
	}
	m := &module{}
	last := 0
	for !r.empty() {
		id, err := r.byte()
		if err != nil {
			return nil, err
		}
		size, err := r.u32()
		if err != nil {
			return nil, err
		}
		body, err := r.take(size)
		if err != nil {
			return nil, fmt.Errorf("section %d: %w", id, err)
		}
		if id == sectionCustom {
			continue
		}
		place := sectionPlace(id)
		if place <= last {
			return nil, fmt.Errorf("section %d: unknown, repeated or out of order", id)
		}
		last = place
		if err := m.section(id, &reader{data: body}); err != nil {
			return nil, fmt.Errorf("section %d: %w", id, err)
		}
	}
	return m, m.check()
}

// sectionPlace returns where a section stands among the others, 0 for an
// unknown one. The data count comes before the code although its id is higher.
func sectionPlace(id byte) int {
	switch {
	case id < sectionCode:
		return int(id)
	case id == sectionDataCount:
		return sectionCode
	case id == sectionCode, id == sectionData:
		return int(id) + 1
	default:
		return 0
	}
}

func (m *module) section(id byte, r *reader) error {
	var err error
	switch id {
	case sectionType:
		err = m.typeSection(r)
	case sectionImport:
		err = m.importSection(r)
	case sectionFunction:
		err = m.functionSection(r)
	case sectionTable:
		err = m.tableSection(r)
	case sectionMemory:
		err = m.memorySection(r)
	case sectionGlobal:
		err = m.globalSection(r)
	case sectionExport:
		err = m.exportSection(r)
	case sectionCode:
		err = m.codeSection(r)
	default: // start, elements and data ask for nothing that check wants to know
		return nil
	}
	if err != nil {
		return err
	}
	if !r.empty() {
		return errors.New("bytes after its end")
	}
	return nil
}

// check refuses what decodes but cannot run here.
func (m *module) check() error {
	switch {
	case m.start == nil:
		return errors.New(`no function "_start" is exported: build it as a command (GOOS=wasip1 GOARCH=wasm, or --target wasm32-wasip1)`)
	case m.start.String() != "()":
		return fmt.Errorf(`"_start" has the signature %s, it must take and return nothing`, m.start)
	case !m.memory:
		return errors.New("no memory: a program without one cannot call anything")
	}
	for _, t := range m.tables {
		if t.low > maxTable {
			return fmt.Errorf("table of %d entries, at most %d are taken", t.low, maxTable)
		}
		if m.growsTab && (!t.bounded || t.high > maxTable) {
			return fmt.Errorf("table.grow is only taken with tables of a maximum of %d entries or less", maxTable)
		}
	}
	return nil
}

func (m *module) typeSection(r *reader) error {
	n, err := r.count(maxTypes)
	if err != nil {
		return err
	}
	for range n {
		if form, err := r.byte(); err != nil {
			return err
		} else if form != typeFunc {
			return fmt.Errorf("type of form %#x", form)
		}
		params, err := r.valueTypes()
		if err != nil {
			return err
		}
		results, err := r.valueTypes()
		if err != nil {
			return err
		}
		m.types = append(m.types, signature{params, results})
	}
	return nil
}

func (m *module) importSection(r *reader) error {
	n, err := r.count(maxFunctions)
	if err != nil {
		return err
	}
	for range n {
		from, err := r.name()
		if err != nil {
			return err
		}
		name, err := r.name()
		if err != nil {
			return err
		}
		if len(from) > maxName || len(name) > maxName {
			return errors.New("import of a name that is too long to be known")
		}
		kind, err := r.byte()
		if err != nil {
			return err
		}
		if kind != 0 {
			return fmt.Errorf("import %q.%q is not a function: shared memories, tables and globals (threads, dynamic linking) are not offered", from, name)
		}
		index, err := r.u32()
		if err != nil {
			return err
		}
		if index >= uint32(len(m.types)) {
			return fmt.Errorf("import %q.%q has no type", from, name)
		}
		if err := checkImport(from, name, m.types[index]); err != nil {
			return err
		}
		m.functions = append(m.functions, index)
	}
	m.imported = len(m.functions)
	return nil
}

func checkImport(from, name string, got signature) error {
	if from != wasi {
		return fmt.Errorf("import %q.%q is unknown: only %s is offered", from, name, wasi)
	}
	want := wasiSignature(name)
	if want == "" {
		return fmt.Errorf("import %q.%q is unknown", from, name)
	}
	if got.String() != want {
		return fmt.Errorf("import %q.%q has the signature %s, want %s", from, name, got, want)
	}
	return nil
}

func (m *module) functionSection(r *reader) error {
	n, err := r.count(maxFunctions)
	if err != nil {
		return err
	}
	for range n {
		index, err := r.u32()
		if err != nil {
			return err
		}
		if index >= uint32(len(m.types)) {
			return errors.New("function without a type")
		}
		m.functions = append(m.functions, index)
	}
	return nil
}

func (m *module) tableSection(r *reader) error {
	n, err := r.count(maxTables)
	if err != nil {
		return err
	}
	for range n {
		if kind, err := r.byte(); err != nil {
			return err
		} else if kind != typeFuncRef && kind != typeExtern {
			return fmt.Errorf("table of %#x", kind)
		}
		low, high, bounded, err := r.limits()
		if err != nil {
			return err
		}
		m.tables = append(m.tables, table{low, high, bounded})
	}
	return nil
}

func (m *module) memorySection(r *reader) error {
	n, err := r.u32()
	if err != nil {
		return err
	}
	if n > 1 {
		return errors.New("more than one memory")
	}
	if n == 1 {
		m.memory = true
		m.pages, _, _, err = r.limits()
	}
	return err
}

func (m *module) globalSection(r *reader) error {
	n, err := r.count(maxFunctions)
	if err != nil {
		return err
	}
	for range n {
		if _, err := r.valueType(); err != nil {
			return err
		}
		if _, err := r.byte(); err != nil { // mutability
			return err
		}
		s := scanner{reader: r}
		if err := s.expression(); err != nil {
			return err
		}
		m.floating = m.floating || s.floating
	}
	return nil
}

func (m *module) exportSection(r *reader) error {
	n, err := r.count(maxFunctions)
	if err != nil {
		return err
	}
	for range n {
		name, err := r.name()
		if err != nil {
			return err
		}
		kind, err := r.byte()
		if err != nil {
			return err
		}
		index, err := r.u32()
		if err != nil {
			return err
		}
		if name == "_start" && kind == 0 && index < uint32(len(m.functions)) {
			m.start = &m.types[m.functions[index]]
		}
	}
	return nil
}

func (m *module) codeSection(r *reader) error {
	n, err := r.u32()
	if err != nil {
		return err
	}
	if int(n) != len(m.functions)-m.imported {
		return fmt.Errorf("%d bodies for %d functions", n, len(m.functions)-m.imported)
	}
	for i := range n {
		size, err := r.u32()
		if err != nil {
			return err
		}
		body, err := r.take(size)
		if err != nil {
			return err
		}
		s := scanner{reader: &reader{data: body}}
		if err := s.function(); err != nil {
			return fmt.Errorf("function %d: %w", int(i)+m.imported, err)
		}
		m.floating = m.floating || s.floating
		m.growsTab = m.growsTab || s.growsTab
	}
	return nil
}
