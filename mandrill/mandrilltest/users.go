package mandrilltest

import (
	"context"
	"fmt"
)

// userInfo is the account, as users/info returns it.
func userInfo(_ context.Context, a *Account, _ arguments) (any, error) {
	username, publicID := "shop", "aaabbbccc112233"
	for i, key := range a.server.options.APIKeys {
		if i > 0 && a.server.accounts[key] == a { // the first one is as in examples
			username, publicID = fmt.Sprintf("ops%d@shop.example", i+1), fmt.Sprintf("aaabbbccc11223%d", i+3)
		}
	}
	return map[string]any{
		"username": username, "created_at": "2024-05-01 10:00:00", "public_id": publicID, "reputation": 82, "hourly_quota": 10000, "backlog": 0,
		"stats": map[string]any{},
	}, nil
}
