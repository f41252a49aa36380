// vcsim, VMware's own simulator of a vCenter, as its releases are built: the simulator
// comes from the pinned module, and this file only reads flags. Upstream's own main is a
// nested module that cannot be had through a proxy, because its go.mod replaces the
// module around it. The flags that are here have upstream's names and meaning, but for
// -fault, which upstream offers to Go programs only.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	_ "github.com/vmware/govmomi/pbm/simulator"
	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator"
)

func main() {
	model := simulator.VPX()
	flag.IntVar(&model.Datacenter, "dc", model.Datacenter, "number of datacenters")
	flag.IntVar(&model.Cluster, "cluster", model.Cluster, "number of clusters")
	flag.IntVar(&model.ClusterHost, "host", model.ClusterHost, "hosts of each cluster")
	flag.IntVar(&model.Host, "standalone-host", model.Host, "number of standalone hosts")
	flag.IntVar(&model.Datastore, "ds", model.Datastore, "number of datastores")
	flag.IntVar(&model.Machine, "vm", model.Machine, "machines of each resource pool")
	flag.IntVar(&model.Pool, "pool", model.Pool, "resource pools of each compute resource")
	flag.IntVar(&model.Portgroup, "pg", model.Portgroup, "number of port groups")
	flag.IntVar(&model.Folder, "folder", model.Folder, "number of folders")
	flag.BoolVar(&model.Autostart, "autostart", model.Autostart, "whether machines run")
	version := &model.ServiceContent.About.ApiVersion
	flag.StringVar(version, "api-version", *version, "what it says its version is")
	secure := flag.Bool("tls", true, "whether TLS is spoken")
	listen := flag.String("l", "127.0.0.1:0", "where to listen")
	user := flag.String("username", "", "the only user, instead of any")
	password := flag.String("password", "", "that user's password")
	delays := flag.String("method-delay", "", "METHOD:MILLISECONDS,...")
	faults := flag.String("fault", "", "METHOD:KIND:SKIPPED:TIMES,...")
	trace := flag.String("trace-file", "", "where every request and answer is written")
	flag.Parse()

	if flag.Arg(0) == "version" {
		fmt.Println("Build Version:", pinned())
		return
	}
	var err error
	if *trace != "" {
		file, err := os.Create(*trace)
		if err != nil {
			log.Fatal(err)
		}
		simulator.Trace, simulator.TraceFile = true, file
	}
	if model.DelayConfig.MethodDelay, err = parseDelays(*delays); err != nil {
		log.Fatal(err)
	}
	simulator.TaskDelay.MethodDelay = model.DelayConfig.MethodDelay
	if err := model.Create(); err != nil {
		log.Fatal(err)
	}
	for _, rule := range split(*faults) {
		parsed, err := parseFault(rule)
		if err != nil {
			log.Fatal(err)
		}
		model.Service.AddFaultRule(parsed)
	}
	model.Service.RegisterEndpoints = true
	model.Service.Listen = &url.URL{Host: *listen}
	if *user != "" {
		model.Service.Listen.User = url.UserPassword(*user, *password)
	}
	if *secure {
		model.Service.TLS = new(tls.Config)
	}
	server := model.Service.NewServer()
	fmt.Printf("export GOVC_URL=%s GOVC_SIM_PID=%d\n", server.URL, os.Getpid())

	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGINT, syscall.SIGTERM)
	<-end
	model.Remove()
}

// The version of the simulator, not of this file.
func pinned() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/vmware/govmomi" {
			return dep.Version
		}
	}
	return "unknown"
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}

func parseDelays(list string) (map[string]int, error) {
	delays := make(map[string]int)
	for _, entry := range split(list) {
		method, text, found := strings.Cut(strings.TrimSpace(entry), ":")
		delay, err := strconv.Atoi(text)
		if !found || err != nil {
			return nil, fmt.Errorf("%q is no METHOD:MILLISECONDS", entry)
		}
		delays[method] = delay
	}
	return delays, nil
}

var kinds = map[string]simulator.FaultType{
	"NotAuthenticated":      simulator.FaultTypeNotAuthenticated,
	"NoPermission":          simulator.FaultTypeNoPermission,
	"InvalidArgument":       simulator.FaultTypeInvalidArgument,
	"MethodNotFound":        simulator.FaultTypeMethodNotFound,
	"ManagedObjectNotFound": simulator.FaultTypeManagedObjectNotFound,
	"InvalidState":          simulator.FaultTypeInvalidState,
	"InsufficientResources": simulator.FaultTypeInsufficientResourcesFault,
}

func parseFault(rule string) (*simulator.FaultInjectionRule, error) {
	parts := strings.Split(rule, ":")
	if len(parts) != 4 {
		return nil, fmt.Errorf("%q is no METHOD:KIND:SKIPPED:TIMES", rule)
	}
	kind, known := kinds[parts[1]]
	skipped, errSkipped := strconv.Atoi(parts[2])
	times, errTimes := strconv.Atoi(parts[3])
	if !known || errSkipped != nil || errTimes != nil {
		return nil, fmt.Errorf("%q is no METHOD:KIND:SKIPPED:TIMES", rule)
	}
	return &simulator.FaultInjectionRule{
		MethodName:  parts[0],
		ObjectType:  "*",
		ObjectName:  "*",
		Probability: 1,
		FaultType:   kind,
		SkipCount:   skipped,
		MaxCount:    times,
		Enabled:     true,
	}, nil
}
