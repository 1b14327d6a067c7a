package access

import (
	"context"
	"fmt"
	"strings"
)

// PublicURL returns the --public-url of an installation's operator, of which the default URLs of its webhooks are made, and the
// operator's pod. The error says what was looked for.
func (c *Cluster) PublicURL(ctx context.Context, flags *Flags, installation string) (url, pod string, err error) {
	pods, err := c.componentPods(ctx, flags.ReceiverNamespace, operatorContainer)
	if err != nil {
		return "", "", err
	}
	var others []string
	for i := range pods {
		for _, container := range pods[i].Spec.Containers {
			if container.Name != operatorContainer {
				continue
			}
			operator := Receiver{Namespace: pods[i].Namespace, Pod: pods[i].Name, Args: append(container.Command, container.Args...)}
			switch {
			case operator.flag("installation") != installation:
				others = append(others, operator.String())
			case operator.flag("public-url") == "":
				return "", "", fmt.Errorf("spec.url is empty, and the operator %s runs without --public-url: set one of them", operator)
			default:
				return operator.flag("public-url"), operator.String(), nil
			}
		}
	}
	if len(others) > 0 {
		return "", "", fmt.Errorf("spec.url is empty, and the operators that were found are those of other installations than %q: %s", installation, strings.Join(others, ", "))
	}
	return "", "", fmt.Errorf("spec.url is empty, and no pod of an operator was found %s, by the label %s=%s, whose --public-url would say the URL",
		namespaceText(flags.ReceiverNamespace), componentLabel, operatorContainer)
}
