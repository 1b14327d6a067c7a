package mandrillwebhook

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/account"
)

// orphans are webhooks that may still exist at Mandrill though no object speaks for them, since the operator started.
type orphans struct {
	mu   sync.Mutex
	list map[orphan]*account.Account // nil when it is not known
}

type orphan struct {
	object types.NamespacedName // that it was of
	id     int64                // 0 when it is not known
}

func (o *orphans) add(object types.NamespacedName, id int64, of *account.Account) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.list == nil {
		o.list = map[orphan]*account.Account{}
	}
	o.list[orphan{object, id}] = of
}

// adopted takes a webhook off the list because an object speaks for it again.
func (o *orphans) adopted(id int64, by *account.Account) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for orphan, of := range o.list {
		if orphan.id == id && (of == nil || of == by) {
			delete(o.list, orphan)
		}
	}
}

// count tells how many there are, without those of which Mandrill has said since that they are gone.
func (o *orphans) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for orphan, of := range o.list {
		if of != nil && orphan.id != 0 && of.Lacks(orphan.id) {
			delete(o.list, orphan)
		}
	}
	return len(o.list)
}
