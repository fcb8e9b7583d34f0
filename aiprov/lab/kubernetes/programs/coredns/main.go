// Stand-in of aiprov's lab: cluster DNS in CoreDNS' place, which Debian does not have.
//
// It takes CoreDNS' flag and Corefile, of which it reads the cluster's domain, and answers for
// Services as CoreDNS does: A, AAAA and SRV of ordinary and headless ones. Every other name does
// not exist, because a lab has no other. Health and readiness are where kubeadm's manifest asks.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/miekg/dns"
	core "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
)

const ttl = 30

type server struct {
	domain    string
	services  listers.ServiceLister
	endpoints listers.EndpointsLister
}

// domain is what the Corefile's kubernetes plug-in serves.
func domain(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	found := regexp.MustCompile(`(?m)^\s*kubernetes\s+(\S+)`).FindStringSubmatch(string(text))
	if found == nil {
		return "", fmt.Errorf("%s: no kubernetes plug-in", path)
	}
	return dns.Fqdn(found[1]), nil
}

// addresses of a Service: its own, or for a headless one those of its endpoints, by host name
// where one is asked for.
func (s *server) addresses(name, space, host string) ([]string, *core.Service) {
	service, err := s.services.Services(space).Get(name)
	if err != nil {
		return nil, nil
	}
	if service.Spec.ClusterIP != core.ClusterIPNone {
		if host != "" {
			return nil, nil
		}
		if len(service.Spec.ClusterIPs) > 0 {
			return service.Spec.ClusterIPs, service
		}
		return []string{service.Spec.ClusterIP}, service
	}
	found := []string{}
	if endpoints, err := s.endpoints.Endpoints(space).Get(name); err == nil {
		for _, subset := range endpoints.Subsets {
			for _, one := range subset.Addresses {
				if host == "" || host == one.Hostname || host == strings.ReplaceAll(one.IP, ".", "-") {
					found = append(found, one.IP)
				}
			}
		}
	}
	return found, service
}

func header(question dns.Question) dns.RR_Header {
	return dns.RR_Header{Name: question.Name, Rrtype: question.Qtype, Class: dns.ClassINET, Ttl: ttl}
}

// answer gives the records of a question, and whether its name exists.
func (s *server) answer(question dns.Question) ([]dns.RR, bool) {
	name := strings.ToLower(question.Name)
	if !dns.IsSubDomain("svc."+s.domain, name) {
		return nil, name == s.domain
	}
	words := dns.SplitDomainName(strings.TrimSuffix(name, "svc."+s.domain))
	if question.Qtype == dns.TypeSRV && len(words) == 4 {
		return s.ports(question, words)
	}
	if len(words) < 2 || len(words) > 3 {
		return nil, false
	}
	host := ""
	if len(words) == 3 {
		host, words = words[0], words[1:]
	}
	addresses, service := s.addresses(words[0], words[1], host)
	if service == nil || (host != "" && len(addresses) == 0) {
		return nil, false
	}
	records := []dns.RR{}
	for _, address := range addresses {
		ip := net.ParseIP(address)
		if question.Qtype == dns.TypeA && ip.To4() != nil {
			records = append(records, &dns.A{Hdr: header(question), A: ip})
		}
		if question.Qtype == dns.TypeAAAA && ip.To4() == nil {
			records = append(records, &dns.AAAA{Hdr: header(question), AAAA: ip})
		}
	}
	return records, true
}

// ports answers _port._protocol.service.namespace.
func (s *server) ports(question dns.Question, words []string) ([]dns.RR, bool) {
	_, service := s.addresses(words[2], words[3], "")
	if service == nil {
		return nil, false
	}
	target := strings.Join([]string{words[2], words[3], "svc", s.domain}, ".")
	for _, port := range service.Spec.Ports {
		if words[0] == "_"+port.Name && words[1] == "_"+strings.ToLower(string(port.Protocol)) {
			return []dns.RR{&dns.SRV{Hdr: header(question), Weight: 100, Port: uint16(port.Port), Target: target}}, true
		}
	}
	return nil, false
}

func (s *server) ServeDNS(out dns.ResponseWriter, asked *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(asked)
	reply.Authoritative = true
	exists := false
	if len(asked.Question) == 1 {
		reply.Answer, exists = s.answer(asked.Question[0])
	}
	if !exists {
		reply.Rcode = dns.RcodeNameError
	}
	out.WriteMsg(reply)
}

func ok(out http.ResponseWriter, _ *http.Request) { fmt.Fprint(out, "OK") }

func main() {
	corefile := flag.String("conf", "Corefile", "CoreDNS' configuration")
	flag.Parse()
	own := &server{}
	var err error
	if own.domain, err = domain(*corefile); err != nil {
		log.Fatal(err)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(http.ListenAndServe(":8080", http.HandlerFunc(ok))) }()
	factory := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 10*time.Minute)
	own.services = factory.Core().V1().Services().Lister()
	own.endpoints = factory.Core().V1().Endpoints().Lister()
	factory.Start(nil)
	factory.WaitForCacheSync(nil)
	for _, protocol := range []string{"udp", "tcp"} {
		listener := &dns.Server{Addr: ":53", Net: protocol, Handler: own}
		go func() { log.Fatal(listener.ListenAndServe()) }()
	}
	fmt.Println("stand-in of aiprov's lab, serving", own.domain)
	log.Fatal(http.ListenAndServe(":8181", http.HandlerFunc(ok)))
}
