package wasm

import (
	"context"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// wasi is the only module that programs may import from.
const wasi = wasi_snapshot_preview1.ModuleName

// errnoNosys is WASI's number for a function that is not offered.
const errnoNosys = 52

// wasiSignature returns the signature of a function of WASI preview 1, in the
// notation of signature.String, or "" for a name that it does not have.
func wasiSignature(name string) string {
	switch name {
	case "proc_exit":
		return "(i32)"
	case "sched_yield":
		return "() i32"
	case "fd_close", "fd_datasync", "fd_sync", "proc_raise":
		return "(i32) i32"
	case "args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "clock_res_get",
		"fd_fdstat_get", "fd_fdstat_set_flags", "fd_filestat_get", "fd_prestat_get",
		"fd_renumber", "fd_tell", "random_get", "sock_shutdown":
		return "(i32 i32) i32"
	case "fd_filestat_set_size":
		return "(i32 i64) i32"
	case "clock_time_get":
		return "(i32 i64 i32) i32"
	case "fd_allocate", "fd_fdstat_set_rights":
		return "(i32 i64 i64) i32"
	case "fd_prestat_dir_name", "path_create_directory", "path_remove_directory",
		"path_unlink_file", "sock_accept":
		return "(i32 i32 i32) i32"
	case "fd_advise", "fd_filestat_set_times":
		return "(i32 i64 i64 i32) i32"
	case "fd_seek":
		return "(i32 i64 i32 i32) i32"
	case "fd_read", "fd_write", "poll_oneoff":
		return "(i32 i32 i32 i32) i32"
	case "fd_pread", "fd_pwrite", "fd_readdir":
		return "(i32 i32 i32 i64 i32) i32"
	case "path_filestat_get", "path_symlink", "sock_send":
		return "(i32 i32 i32 i32 i32) i32"
	case "path_readlink", "path_rename", "sock_recv":
		return "(i32 i32 i32 i32 i32 i32) i32"
	case "path_filestat_set_times":
		return "(i32 i32 i32 i32 i64 i64 i32) i32"
	case "path_link":
		return "(i32 i32 i32 i32 i32 i32 i32) i32"
	case "path_open":
		return "(i32 i32 i32 i32 i32 i64 i64 i32 i32) i32"
	default:
		return ""
	}
}

// offerWASI makes the host functions known to a runtime: the engine's own, save
// for fd_renumber. That one would grow the engine's descriptor table to any
// number the program names, so it is not offered.
func offerWASI(ctx context.Context, r wazero.Runtime) error {
	b := r.NewHostModuleBuilder(wasi)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, stack []uint64) {
		stack[0] = errnoNosys
	}), []api.ValueType{api.ValueTypeI32, api.ValueTypeI32}, []api.ValueType{api.ValueTypeI32}).Export("fd_renumber")
	_, err := b.Instantiate(ctx)
	return err
}

// signature is the parameter and result types of a function, as they stand in
// the module: of many long ones nothing is copied.
type signature struct{ params, results []byte }

// String writes a signature as "(i32 i64) i32", and of a long one the beginning:
// those of WASI are short.
func (s signature) String() string {
	const longest = 16
	names := func(types []byte) string {
		var all []string
		for _, t := range types[:min(len(types), longest)] {
			all = append(all, typeName(t))
		}
		if len(types) > longest {
			all = append(all, "...")
		}
		return strings.Join(all, " ")
	}
	return strings.TrimRight("("+names(s.params)+") "+names(s.results), " ")
}

func typeName(t byte) string {
	switch t {
	case typeI32:
		return "i32"
	case typeI64:
		return "i64"
	default:
		return fmt.Sprintf("%#x", t)
	}
}
