package main

import (
	"errors"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	corelisters "k8s.io/client-go/listers/core/v1"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
)

// zone answers for svc.cluster.local. No other name exists, so nothing in the cluster finds an address outside.
type zone struct {
	services corelisters.ServiceLister
	slices   discoverylisters.EndpointSliceLister
}

// serve answers queries until the connection is closed.
func (z *zone) serve(connection net.PacketConn) error {
	packet := make([]byte, 1500)
	for {
		n, client, err := connection.ReadFrom(packet)
		if errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
		var query dnsmessage.Message
		if query.Unpack(packet[:n]) != nil || len(query.Questions) != 1 {
			continue
		}
		reply := z.reply(query)
		if packed, err := reply.Pack(); err == nil {
			_, _ = connection.WriteTo(packed, client) // a client that gets nothing asks again
		}
	}
}

func (z *zone) reply(query dnsmessage.Message) dnsmessage.Message {
	reply := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true, RecursionDesired: query.RecursionDesired},
		Questions: query.Questions,
	}
	question := query.Questions[0]
	addresses, exists := z.lookup(question.Name.String())
	if !exists {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, address := range addresses {
		if ip, err := netip.ParseAddr(address); err == nil && ip.Is4() && question.Type == dnsmessage.TypeA {
			header := dnsmessage.ResourceHeader{Name: question.Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 2}
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
		}
	}
	return reply
}

// lookup finds SERVICE.NAMESPACE and, of a headless Service, POD.SERVICE.NAMESPACE.
func (z *zone) lookup(name string) (addresses []string, exists bool) {
	name, ours := strings.CutSuffix(strings.ToLower(name), ".svc.cluster.local.")
	parts := strings.Split(name, ".")
	if !ours || len(parts) < 2 || len(parts) > 3 {
		return nil, false
	}
	var pod string
	if len(parts) == 3 {
		pod, parts = parts[0], parts[1:]
	}
	service, err := z.services.Services(parts[1]).Get(parts[0])
	switch {
	case err != nil:
		return nil, false
	case service.Spec.Type == corev1.ServiceTypeExternalName:
		return z.lookup(strings.TrimSuffix(service.Spec.ExternalName, ".") + ".")
	case service.Spec.ClusterIP == corev1.ClusterIPNone:
		addresses = z.pods(service, pod)
		return addresses, pod == "" || len(addresses) > 0
	}
	return []string{service.Spec.ClusterIP}, pod == ""
}

// pods returns the addresses of the ready pods of a headless Service, or of one of them.
func (z *zone) pods(service *corev1.Service, pod string) []string {
	slices, err := z.slices.EndpointSlices(service.Namespace).List(labels.Set{discoveryv1.LabelServiceName: service.Name}.AsSelector())
	if err != nil {
		return nil
	}
	var addresses []string
	for _, slice := range slices {
		for _, endpoint := range slice.Endpoints {
			ready := endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready // always, with publishNotReadyAddresses
			if ready && (pod == "" || endpoint.Hostname != nil && *endpoint.Hostname == pod) {
				addresses = append(addresses, endpoint.Addresses...)
			}
		}
	}
	return addresses
}
