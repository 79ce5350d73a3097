package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa/internal/tlsfiles"
)

// statusOptions are the command's flags: etcdctl's, where it has the same.
type statusOptions struct {
	endpoints       []string
	output          string
	timeout         time.Duration
	cert, key, ca   string
	skipVerifyNames bool
}

func statusCommand() *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how each member is doing",
		Long: "Asks every endpoint and shows role, term, log and size of each member. The endpoints are --endpoints, or ETCDCTL_ENDPOINTS.\n" +
			"The exit code is 1 where a member did not answer.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.output != "table" && o.output != "json" {
				return usage(cmd, fmt.Errorf("-o %s: it must be table or json", o.output))
			}
			return runStatus(cmd.Context(), cmd.OutOrStdout(), o)
		},
	}
	o.addFlags(cmd, "table", "table or json")
	return cmd
}

// addFlags gives a command the flags of one that asks members.
func (o *statusOptions) addFlags(cmd *cobra.Command, output, formats string) {
	endpoints := []string{"127.0.0.1:2379"}
	if text := os.Getenv("ETCDCTL_ENDPOINTS"); text != "" {
		endpoints = strings.Split(text, ",")
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&o.endpoints, "endpoints", endpoints, "addresses to ask, separated by commas")
	flags.StringVarP(&o.output, "output", "o", output, formats)
	flags.DurationVar(&o.timeout, "timeout", 3*time.Second, "how long to wait for each member")
	flags.StringVar(&o.cert, "cert", os.Getenv("ETCDCTL_CERT"), "certificate to show")
	flags.StringVar(&o.key, "key", os.Getenv("ETCDCTL_KEY"), "its key")
	flags.StringVar(&o.ca, "cacert", os.Getenv("ETCDCTL_CACERT"), "certificates of those who may sign the servers' certificates")
	flags.BoolVar(&o.skipVerifyNames, "insecure-skip-tls-verify", false, "take any server's certificate (for tests)")
}

// endpointStatus is what one endpoint answered.
type endpointStatus struct {
	Endpoint  string        `json:"endpoint"`
	Error     string        `json:"error,omitempty"`
	RoundTrip float64       `json:"round_trip_ms,omitempty"`
	Lag       uint64        `json:"lag"` // entries that this member has yet to apply, of those that any asked member knows to be committed
	Status    *memberStatus `json:"status,omitempty"`
	Asked     time.Time     `json:"-"` // when, by our clock
}

func runStatus(ctx context.Context, out io.Writer, o statusOptions) error {
	files := tlsfiles.Files{Cert: o.cert, Key: o.key, TrustedCA: o.ca}
	config, err := files.Client()
	if err != nil {
		return err
	}
	config.InsecureSkipVerify = o.skipVerifyNames
	answers := make([]endpointStatus, len(o.endpoints))
	var group sync.WaitGroup
	for i, endpoint := range o.endpoints {
		group.Go(func() { answers[i] = askStatus(ctx, endpoint, config, o) })
	}
	group.Wait()
	fillLag(answers)
	if o.output == "json" {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(answers)
	} else {
		err = writeStatusTable(out, answers)
	}
	for _, a := range answers {
		if a.Error != "" {
			return errors.Join(err, exitCode(exitError))
		}
	}
	return err
}

// askStatus asks twice over one connection: the second time is the round trip.
func askStatus(ctx context.Context, endpoint string, config *tls.Config, o statusOptions) endpointStatus {
	answer := endpointStatus{Endpoint: strings.TrimSpace(endpoint)}
	address := answer.Endpoint
	if !strings.Contains(address, "://") {
		address = "http://" + address
		if o.ca != "" || o.cert != "" {
			address = "https://" + strings.TrimPrefix(address, "http://")
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: o.timeout}
	defer client.CloseIdleConnections()
	for range 2 {
		began := time.Now()
		status, err := getStatus(ctx, client, strings.TrimSuffix(address, "/")+statusPath)
		if err != nil {
			answer.Error = err.Error()
			return answer
		}
		answer.Status, answer.Asked, answer.RoundTrip = status, began, float64(time.Since(began).Microseconds())/1000
	}
	return answer
}

func getStatus(ctx context.Context, client *http.Client, address string) (*memberStatus, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, errors.New(plainly(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusNotFound {
		return nil, errors.New("this server does not know " + statusPath + ": it is not a balsa server")
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	status := &memberStatus{}
	return status, json.Unmarshal(body, status)
}

// plainly takes the request's name out of an error of net/http, which the table shows already.
func plainly(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

func fillLag(answers []endpointStatus) {
	var commit uint64
	for _, a := range answers {
		if a.Status != nil {
			commit = max(commit, a.Status.Commit)
		}
	}
	for i, a := range answers {
		if a.Status != nil {
			answers[i].Lag = commit - min(commit, a.Status.Applied)
		}
	}
}

func writeStatusTable(out io.Writer, answers []endpointStatus) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MEMBER\tENDPOINT\tROLE\tTERM\tFIRST\tLAST\tCOMMIT\tAPPLIED\tLAG\tDB SIZE\tROUND TRIP")
	for _, a := range answers {
		s := a.Status
		if s == nil {
			fmt.Fprintf(w, "-\t%s\tno answer\t-\t-\t-\t-\t-\t-\t-\t-\n", a.Endpoint)
			continue
		}
		role := s.Role
		if s.Fault != "" {
			role = "stopped"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%.2f ms\n", s.Name, a.Endpoint, role, s.Term,
			s.First, s.Last, s.Commit, s.Applied, a.Lag, bytesText(s.Size), a.RoundTrip)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, a := range answers {
		switch {
		case a.Status == nil:
			fmt.Fprintf(out, "%s did not answer: %s\n", a.Endpoint, a.Error)
		case a.Status.Fault != "":
			fmt.Fprintf(out, "%s takes part in nothing any more: %s\n", a.Status.Name, a.Status.Fault)
		}
		writeTroubles(out, a.Status)
		writeSnapshots(out, a.Status)
		writeLevel(out, a.Status)
		if a.Status != nil && a.Status.Recovered != nil {
			r := a.Status.Recovered
			fmt.Fprintf(out, "%s: this cluster was recovered from a lost majority on %s, from %s of cluster %s, up to index %d of term %d (%d entries without proof that they were committed)\n",
				a.Status.Name, r.Made.Format(time.RFC3339), r.FormerName, r.FormerClusters[0], r.Last, r.LastTerm, r.Kept)
		}
	}
	return nil
}

// writeLevel says, where the leader's cluster could have a higher level, who holds it back.
func writeLevel(out io.Writer, s *memberStatus) {
	if s == nil || len(s.Followers) == 0 || s.Level == 0 || s.Level >= s.MaxLevel {
		return
	}
	for _, f := range s.Followers {
		if f.MaxLevel <= s.Level {
			fmt.Fprintf(out, "the cluster is at level %d, and %s speaks %d: what is new waits until %s (%s) is upgraded, and has been connected\n", s.Level, s.Name, s.MaxLevel, f.Name, f.Member)
		}
	}
}

// writeTroubles writes a line for each trouble of a member: what is wrong, since when, and what to do.
func writeTroubles(out io.Writer, s *memberStatus) {
	if s == nil {
		return
	}
	for _, t := range s.Troubles {
		severity := "TROUBLE"
		if t.Warning {
			severity = "warning"
		}
		fmt.Fprintf(out, "%s: %s (%s, since %s): %s; %s\n", s.Name, severity, t.Kind, t.Since.Format(time.RFC3339), t.Text, t.Remedy)
	}
}

func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}
