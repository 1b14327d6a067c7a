package mandrilltest

import "context"

// userInfo is the account, as users/info returns it.
func userInfo(context.Context, *Account, arguments) (any, error) {
	return map[string]any{
		"username": "shop", "created_at": "2024-05-01 10:00:00", "public_id": "aaabbbccc112233", "reputation": 82, "hourly_quota": 10000, "backlog": 0,
		"stats": map[string]any{},
	}, nil
}
