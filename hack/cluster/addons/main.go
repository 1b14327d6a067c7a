// Addons gives the pods of the local cluster what Kubernetes leaves to others: DNS for Services, and volumes, which are folders of this
// machine.
//
//	addons -kubeconfig FILE -dns 10.244.0.1:53 -volumes FOLDER
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig file")
	dns := flag.String("dns", "10.244.0.1:53", "UDP address of the DNS server")
	folder := flag.String("volumes", "", "folder of the volumes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *dns, *folder); err != nil {
		log.Fatal(err)
	}
}

// resync is how soon a failed step of a volume is tried again.
const resync = 5 * time.Second

func run(ctx context.Context, kubeconfig, dns, folder string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("loading %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, resync)
	zone := &zone{services: factory.Core().V1().Services().Lister(), slices: factory.Discovery().V1().EndpointSlices().Lister()}
	volumes := &volumes{client: client, folder: folder}
	for informer, handle := range map[cache.SharedIndexInformer]func(any) error{
		factory.Core().V1().PersistentVolumeClaims().Informer(): func(object any) error { return volumes.provide(ctx, object) },
		factory.Core().V1().PersistentVolumes().Informer():      func(object any) error { return volumes.remove(ctx, object) },
	} {
		logged := func(object any) {
			if err := handle(object); err != nil {
				log.Print(err)
			}
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: logged, UpdateFunc: func(_, object any) { logged(object) }}); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	connection, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", dns)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = connection.Close() })
	return zone.serve(connection)
}
