package testnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/muster-network/muster/jobs"
)

// startTimeout bounds how long a node may take until it is ready.
const startTimeout = 30 * time.Second

// Start starts the node's process and returns when it is ready. The process
// outlives this one; its output goes to node.log in its home.
func (n *Node) Start(ctx context.Context) error {
	if err := os.MkdirAll(n.Home, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(n.Home, "node.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the process has its own descriptor
	args := []string{"node", "start", "--home", n.Home, "--api-listen", n.API, "--listen", strings.Join(n.Listen, ",")}
	if n.Lie != "" {
		args = append(args, "--lie="+string(n.Lie))
	}
	if n.CPU > 0 {
		args = append(args, "--cpu", strconv.FormatFloat(float64(n.CPU)/1000, 'f', -1, 64))
	}
	cmd := exec.Command(n.Binary, args...)
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	n.PID, n.exited = cmd.Process.Pid, exited
	go func() {
		_ = cmd.Wait() // its log says why it ended
		close(exited)
	}()
	err = n.awaitReady(ctx, log.Name())
	n.ready = time.Since(begin)
	return err
}

// environment is this process's without what is set for its own node.
func environment() []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "MUSTER_") {
			env = append(env, e)
		}
	}
	return env
}

func (n *Node) awaitReady(ctx context.Context, log string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c, err := n.Client()
	if err != nil {
		return err
	}
	defer c.Close()
	err = poll(ctx, func() (bool, error) {
		select {
		case <-n.exited:
			return false, errors.New("the process has ended")
		default:
		}
		info, err := c.Node(ctx)
		var p *jobs.Problem
		if errors.As(err, &p) && p.Code == jobs.CodeNodeDown {
			return false, nil
		}
		return info.Ready, err
	})
	if err == nil {
		return nil
	}
	end := tail(log)
	if strings.Contains(end, "code: "+jobs.CodeConflict) {
		err = errors.Join(errPortTaken, err)
	}
	return fmt.Errorf("n%d is not ready: %w; its log ends:\n%s", n.Number, err, end)
}

// errPortTaken is the error of a node that did not start because somebody listens where
// it is to listen.
var errPortTaken = errors.New("a port is taken")

func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(len(data)-2000, 0):])
}

// Running reports whether the node's process lives, or has not yet let go of its
// files. A process that has taken over the number is not taken for it.
func (n *Node) Running() bool {
	if n.exited != nil {
		select {
		case <-n.exited:
			return false
		default:
			return true
		}
	}
	if n.PID == 0 {
		return false
	}
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", n.PID))
	if err != nil {
		return false
	}
	return strings.Contains(string(cmdline), n.Home) || len(cmdline) == 0 && !n.ended()
}

// ended reports whether a process without a command line, which has lost its
// memory, has lost its files, too.
func (n *Node) ended() bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID))
	_, state, ok := strings.Cut(string(stat), ") ")
	return err != nil || !ok || strings.HasPrefix(state, "Z") || strings.HasPrefix(state, "X")
}

// Kill ends the node's process with signal 9 and returns when it is gone.
func (n *Node) Kill() error { return n.signal(syscall.SIGKILL) }

// Stop ends the node's process in order and returns when it is gone.
func (n *Node) Stop() error { return n.signal(syscall.SIGTERM) }

// stopTimeout is how long a process may take to end in order before it is killed.
const stopTimeout = 10 * time.Second

func (n *Node) signal(s syscall.Signal) error {
	if !n.Running() {
		return nil
	}
	if err := syscall.Kill(n.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("n%d: %w", n.Number, err)
	}
	deadline := time.NewTimer(stopTimeout)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for n.Running() {
		select {
		case <-look.C:
		case <-deadline.C:
			if s == syscall.SIGKILL {
				return fmt.Errorf("n%d does not die", n.Number)
			}
			return n.signal(syscall.SIGKILL)
		}
	}
	return nil
}

// Kill kills one node of the testnet in dir with signal 9.
func Kill(dir string, number int) error {
	n, err := Load(dir)
	if err != nil {
		return err
	}
	if number < 1 || number > len(n.Nodes) {
		return &jobs.Problem{Code: jobs.CodeNotFound, What: fmt.Sprintf("the testnet has no n%d", number), Try: fmt.Sprintf("n1 to n%d", len(n.Nodes))}
	}
	if !n.Nodes[number-1].Running() {
		return &jobs.Problem{Code: jobs.CodeConflict, What: fmt.Sprintf("n%d is down already", number), Try: "muster testnet status"}
	}
	return n.Nodes[number-1].Kill()
}

// Down ends the testnet in dir and removes its data.
func Down(dir string) error {
	n, err := Load(dir)
	if err != nil {
		return err
	}
	return n.down()
}

// Down ends the network and removes its data.
func (n *Network) Down() error { return n.down() }

func (n *Network) down() error {
	var errs []error
	for _, node := range n.Nodes {
		if node.Running() {
			if err := syscall.Kill(node.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				errs = append(errs, err)
			}
		}
	}
	for _, node := range n.Nodes {
		errs = append(errs, node.Stop())
		if err := os.Remove(node.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if at, err := Locate(n.Pointer); err == nil && at == n.Dir {
		errs = append(errs, os.Remove(n.Pointer))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return n.remove()
}

// State is how a testnet stands.
type State struct {
	Schema string      `json:"schema"` // muster.testnet/v1
	Dir    string      `json:"dir"`
	Nodes  []NodeState `json:"nodes"`
}

// NodeState is how one of its nodes is. What a node that does not answer would
// say is left out.
type NodeState struct {
	Number int    `json:"number"`
	Name   string `json:"name"`
	Peer   string `json:"peer"`
	State  string `json:"state"` // up, lying or down
	PID    int    `json:"pid,omitempty"`
	Peers  *int   `json:"peers,omitempty"`
	Open   *int   `json:"open,omitempty"` // jobs
	Socket string `json:"socket"`
	API    string `json:"api"`
}

// Status tells how the nodes of the testnet in dir are.
func Status(ctx context.Context, dir string) (State, error) {
	n, err := Load(dir)
	if err != nil {
		return State{}, err
	}
	s := State{Schema: "muster.testnet/v1", Dir: dir}
	for _, node := range n.Nodes {
		s.Nodes = append(s.Nodes, node.state(ctx))
	}
	return s, nil
}

func (n *Node) state(ctx context.Context) NodeState {
	s := NodeState{Number: n.Number, Name: n.Name, Peer: n.Peer, State: "down", Socket: n.Socket, API: n.API}
	if !n.Running() {
		return s
	}
	if s.State, s.PID = "up", n.PID; n.Lie != "" {
		s.State = "lying"
	}
	c, err := n.Client()
	if err != nil {
		return s
	}
	defer c.Close()
	if info, err := c.Node(ctx); err == nil {
		s.Peers, s.Open = &info.Peers, &info.Queue.Open
	}
	return s
}
