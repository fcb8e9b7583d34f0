package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"text/tabwriter"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1alpha2"
)

func dump(value interface{}) error {
	text, err := json.MarshalIndent(value, "", "  ")
	fmt.Println(string(text))
	return err
}

// table prints rows with the real tool's spaces; an id is cut as the real tool cuts it.
func table(head string, lines [][]string) error {
	out := tabwriter.NewWriter(os.Stdout, 20, 1, 3, ' ', 0)
	fmt.Fprintln(out, strings.ReplaceAll(head, "|", "\t"))
	for _, line := range lines {
		fmt.Fprintln(out, strings.Join(line, "\t"))
	}
	return out.Flush()
}

func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	if len(id) > 13 {
		return id[:13]
	}
	return id
}

func ago(nanoseconds int64) string {
	return time.Since(time.Unix(0, nanoseconds)).Round(time.Second).String() + " ago"
}

func word(state, prefix string) string {
	text := strings.ToLower(strings.TrimPrefix(state, prefix))
	return strings.ToUpper(text[:1]) + text[1:]
}

func version(c *client) error {
	said, err := c.runtime.Version(c, &cri.VersionRequest{})
	if err == nil {
		fmt.Printf("Version:  %s\nRuntimeName:  %s\nRuntimeVersion:  %s\nRuntimeApiVersion:  %s\n", said.Version, said.RuntimeName, said.RuntimeVersion, said.RuntimeApiVersion)
	}
	return err
}

func info(c *client) error {
	said, err := c.runtime.Status(c, &cri.StatusRequest{Verbose: true})
	if err != nil {
		return err
	}
	told, conditions := map[string]interface{}{}, rows{}
	for _, one := range said.Status.Conditions {
		conditions = append(conditions, map[string]interface{}{"type": one.Type, "status": one.Status, "reason": one.Reason, "message": one.Message})
	}
	told["status"] = map[string]interface{}{"conditions": conditions}
	for name, text := range said.Info {
		var value interface{} = text
		if json.Valid([]byte(text)) {
			value = json.RawMessage(text)
		}
		told[name] = value
	}
	return dump(told)
}

func pods(c *client) error {
	filter := &cri.PodSandboxFilter{}
	if c.flags.NArg() > 0 {
		filter.Id = c.flags.Arg(0)
	}
	answer, err := c.runtime.ListPodSandbox(c, &cri.ListPodSandboxRequest{Filter: filter})
	if err != nil {
		return err
	}
	items := answer.Items
	sort.Slice(items, func(a, b int) bool { return items[a].CreatedAt > items[b].CreatedAt })
	found, lines := rows{}, [][]string{}
	for _, one := range items {
		meta, state := one.Metadata, word(one.State.String(), "SANDBOX_")
		if !strings.Contains(meta.Name, c.name) || (c.space != "" && meta.Namespace != c.space) || (c.state != "" && !strings.EqualFold(c.state, state)) {
			continue
		}
		if c.quiet {
			fmt.Println(one.Id)
		}
		found = append(found, map[string]interface{}{
			"id": one.Id, "state": one.State.String(), "createdAt": fmt.Sprint(one.CreatedAt), "labels": one.Labels, "annotations": one.Annotations, "runtimeHandler": one.RuntimeHandler,
			"metadata": map[string]interface{}{"name": meta.Name, "uid": meta.Uid, "namespace": meta.Namespace, "attempt": meta.Attempt},
		})
		lines = append(lines, []string{short(one.Id), ago(one.CreatedAt), state, meta.Name, meta.Namespace, fmt.Sprint(meta.Attempt), "(default)"})
	}
	return show(c, "items", found, "POD ID|CREATED|STATE|NAME|NAMESPACE|ATTEMPT|RUNTIME", lines)
}

func show(c *client, key string, found rows, head string, lines [][]string) error {
	if c.quiet {
		return nil
	}
	if c.output == "json" {
		return dump(map[string]interface{}{key: found})
	}
	return table(head, lines)
}

func containers(c *client) error {
	answer, err := c.runtime.ListContainers(c, &cri.ListContainersRequest{})
	if err != nil {
		return err
	}
	items := answer.Containers
	sort.Slice(items, func(a, b int) bool { return items[a].CreatedAt > items[b].CreatedAt })
	found, lines := rows{}, [][]string{}
	for _, one := range items {
		meta, state, pod := one.Metadata, word(one.State.String(), "CONTAINER_"), one.Labels["io.kubernetes.pod.name"]
		runs := one.State == cri.ContainerState_CONTAINER_RUNNING
		if (!c.all && c.state == "" && !runs) || (c.state != "" && !strings.EqualFold(c.state, state)) || !strings.Contains(meta.Name, c.name) || !strings.HasPrefix(one.PodSandboxId, c.pod) {
			continue
		}
		if c.quiet {
			fmt.Println(one.Id)
		}
		found = append(found, map[string]interface{}{
			"id": one.Id, "podSandboxId": one.PodSandboxId, "image": map[string]interface{}{"image": one.Image.GetImage()}, "imageRef": one.ImageRef, "state": one.State.String(),
			"createdAt": fmt.Sprint(one.CreatedAt), "labels": one.Labels, "annotations": one.Annotations,
			"metadata": map[string]interface{}{"name": meta.Name, "attempt": meta.Attempt},
		})
		lines = append(lines, []string{short(one.Id), short(one.Image.GetImage()), ago(one.CreatedAt), state, meta.Name, fmt.Sprint(meta.Attempt), short(one.PodSandboxId), pod})
	}
	return show(c, "containers", found, "CONTAINER|IMAGE|CREATED|STATE|NAME|ATTEMPT|POD ID|POD", lines)
}

func told(one *cri.Image) map[string]interface{} {
	return map[string]interface{}{"id": one.Id, "repoTags": one.RepoTags, "repoDigests": one.RepoDigests, "size": fmt.Sprint(one.Size_)}
}

func images(c *client) error {
	filter := &cri.ImageFilter{Image: &cri.ImageSpec{Image: c.flags.Arg(0)}}
	answer, err := c.images.ListImages(c, &cri.ListImagesRequest{Filter: filter})
	if err != nil {
		return err
	}
	found, lines := rows{}, [][]string{}
	for _, one := range answer.Images {
		if c.quiet {
			fmt.Println(one.Id)
		}
		found = append(found, told(one))
		for _, tag := range append(one.RepoTags, map[bool][]string{true: {"<none>:<none>"}}[len(one.RepoTags) == 0]...) {
			at := strings.LastIndex(tag, ":")
			lines = append(lines, []string{tag[:at], tag[at+1:], short(one.Id), fmt.Sprintf("%.1fMB", float64(one.Size_)/1e6)})
		}
	}
	sort.Slice(lines, func(a, b int) bool { return lines[a][0] < lines[b][0] })
	return show(c, "images", found, "IMAGE|TAG|IMAGE ID|SIZE", lines)
}

func pull(c *client) error {
	if c.flags.NArg() != 1 {
		return errors.New("image name cannot be empty")
	}
	answer, err := c.images.PullImage(c, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: c.flags.Arg(0)}})
	if err != nil {
		return fmt.Errorf("pulling image: %v", err)
	}
	fmt.Println("Image is up to date for", answer.ImageRef)
	return nil
}

func inspectImage(c *client, name string) error {
	answer, err := c.images.ImageStatus(c, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: name}})
	if err != nil {
		return err
	}
	if answer.Image == nil {
		return fmt.Errorf("no such image %q present", name)
	}
	return dump(map[string]interface{}{"status": told(answer.Image)})
}

func inspect(c *client, id string) error {
	answer, err := c.runtime.ContainerStatus(c, &cri.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return err
	}
	return dump(map[string]interface{}{"status": answer.Status, "info": json.RawMessage(answer.Info["info"])})
}

func inspectPod(c *client, id string) error {
	answer, err := c.runtime.PodSandboxStatus(c, &cri.PodSandboxStatusRequest{PodSandboxId: id, Verbose: true})
	if err != nil {
		return err
	}
	return dump(map[string]interface{}{"status": answer.Status, "info": json.RawMessage(answer.Info["info"])})
}

func stop(c *client, id string) error {
	_, err := c.runtime.StopContainer(c, &cri.StopContainerRequest{ContainerId: id, Timeout: c.wait})
	return said(id, err)
}

func remove(c *client, id string) error {
	if c.force {
		if err := stop(c, id); err != nil {
			return err
		}
	}
	_, err := c.runtime.RemoveContainer(c, &cri.RemoveContainerRequest{ContainerId: id})
	return said(id, err)
}

func stopPod(c *client, id string) error {
	_, err := c.runtime.StopPodSandbox(c, &cri.StopPodSandboxRequest{PodSandboxId: id})
	return said("Stopped sandbox "+id, err)
}

func removePod(c *client, id string) error {
	if c.force {
		if err := stopPod(c, id); err != nil {
			return err
		}
	}
	status, err := c.runtime.PodSandboxStatus(c, &cri.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		return err
	}
	if status.Status.State == cri.PodSandboxState_SANDBOX_READY {
		return fmt.Errorf("pod sandbox %q is running, please stop it first", id)
	}
	_, err = c.runtime.RemovePodSandbox(c, &cri.RemovePodSandboxRequest{PodSandboxId: id})
	return said("Removed sandbox "+id, err)
}

func removeImage(c *client, name string) error {
	_, err := c.images.RemoveImage(c, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: name}})
	return said("Deleted: "+name, err)
}

// logs prints what a container has said; a line of its file is time, stream, tag and text.
func logs(c *client, id string) error {
	answer, err := c.runtime.ContainerStatus(c, &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return err
	}
	file, err := os.Open(filepath.Clean(answer.Status.LogPath))
	if err != nil {
		return err
	}
	defer file.Close()
	for reader := bufio.NewReader(file); ; {
		line, err := reader.ReadString('\n')
		if words := strings.SplitN(line, " ", 4); len(words) == 4 {
			fmt.Print(words[3])
		}
		if err == io.EOF {
			return nil
		}
	}
}

func said(text string, err error) error {
	if err == nil {
		fmt.Println(text)
	}
	return err
}
