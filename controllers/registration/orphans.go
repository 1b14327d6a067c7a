package registration

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/mandrill-operator/mandrill-operator/controllers/account"
)

// Orphans are the webhooks that were left at Mandrill without an object since the operator started.
type Orphans struct {
	mu   sync.Mutex
	list map[orphan]*account.Account // nil for an account that is not known
}

type orphan struct {
	object types.NamespacedName // that it belonged to
	id     int64                // 0 if it is not known
}

// Add adds a webhook in an account, nil for one that is not known.
func (o *Orphans) Add(object types.NamespacedName, id int64, in *account.Account) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.list == nil {
		o.list = map[orphan]*account.Account{}
	}
	o.list[orphan{object, id}] = in
}

// Adopted removes a webhook from the list because an object has it again.
func (o *Orphans) Adopted(id int64, by *account.Account) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for orphan, in := range o.list {
		if orphan.id == id && (in == nil || in == by) {
			delete(o.list, orphan)
		}
	}
}

// Count returns how many there are, without those that Mandrill no longer lists.
func (o *Orphans) Count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for orphan, in := range o.list {
		if in != nil && orphan.id != 0 && in.Lacks(orphan.id) {
			delete(o.list, orphan)
		}
	}
	return len(o.list)
}
