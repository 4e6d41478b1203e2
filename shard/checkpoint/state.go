package checkpoint

import (
	"errors"
	"fmt"
	"strings"
)

// storageClasses are the storages that checkpoints have, by what torch calls them, with their types' safetensors names.
func storageClass(g global) (DType, bool) {
	switch g {
	case "torch.FloatStorage":
		return F32, true
	case "torch.HalfStorage":
		return F16, true
	case "torch.BFloat16Storage":
		return BF16, true
	case "torch.ByteStorage":
		return "U8", true
	case "torch.CharStorage":
		return "I8", true
	}
	return "", false
}

// allowed is the list of globals that a pickle may name.
func allowed(g global) bool {
	switch g {
	case "collections.OrderedDict", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.Size",
		"torch.float16", "torch.float32", "torch.bfloat16":
		return true
	}
	_, ok := storageClass(g)
	return ok
}

// storage is a run of elements: the member data/key.
type storage struct {
	dtype DType
	blob  *blob
	numel int64
}

// view is a tensor: a window on a storage. Offset and strides count elements.
type view struct {
	storage *storage
	offset  int64
	shape   []int64
	stride  []int64
}

// reduce stands for calling f. Only three of the globals can be called.
func reduce(f, args any) (any, error) {
	g, ok := f.(global)
	t, isTuple := args.(tuple)
	if !ok || !isTuple {
		return nil, errors.New("a call of what is no function")
	}
	switch {
	case g == "collections.OrderedDict" && len(t) == 0:
		return newDict(true), nil
	case g == "torch.Size" && len(t) == 1:
		if size, ok := t[0].(tuple); ok {
			return size, nil
		}
	case g == "torch._utils._rebuild_parameter" && len(t) == 3:
		if v, ok := t[0].(*view); ok && isEmptyDict(t[2]) {
			return v, nil
		}
	case g == "torch._utils._rebuild_tensor_v2" && (len(t) == 6 || len(t) == 7):
		return rebuildTensor(t)
	}
	return nil, fmt.Errorf("%s is called with arguments that it does not have", g)
}

// rebuildTensor makes (storage, offset, size, stride, requires_grad, hooks[, metadata]) a view that stays within its storage.
func rebuildTensor(t tuple) (*view, error) {
	s, ok := t[0].(*storage)
	offset, isInt := t[1].(int64)
	if !ok || !isInt || !isEmptyDict(t[5]) {
		return nil, errors.New("a tensor is not made as torch makes it")
	}
	shape, err := extents(t[2])
	if err != nil {
		return nil, fmt.Errorf("tensor's size: %w", err)
	}
	stride, err := extents(t[3])
	if err != nil {
		return nil, fmt.Errorf("tensor's stride: %w", err)
	}
	v := &view{s, offset, shape, stride}
	return v, v.check()
}

// extents reads a tuple of dimensions or strides.
func extents(v any) ([]int64, error) {
	t, ok := v.(tuple)
	if !ok {
		return nil, errors.New("not a tuple")
	}
	if len(t) > maxDims {
		return nil, fmt.Errorf("%d dimensions, more than the %d allowed", len(t), maxDims)
	}
	out := make([]int64, len(t))
	for i, v := range t {
		n, ok := v.(int64)
		if !ok || n < 0 || n > maxElements {
			return nil, fmt.Errorf("not a whole number of 0 to %d", int64(maxElements))
		}
		out[i] = n
	}
	return out, nil
}

// check makes sure that every element of the view lies in its storage.
func (v *view) check() error {
	if len(v.shape) != len(v.stride) {
		return fmt.Errorf("tensor of %d dimensions and %d strides", len(v.shape), len(v.stride))
	}
	n, err := elements(v.shape)
	if err != nil {
		return err
	}
	if v.offset < 0 || v.offset > v.storage.numel {
		return fmt.Errorf("tensor at %d lies outside its storage of %d elements", v.offset, v.storage.numel)
	}
	if n == 0 {
		return nil
	}
	left := v.storage.numel - v.offset - 1 // how far the last element may be from the first
	for i, d := range v.shape {
		if d > 1 && v.stride[i] > left/(d-1) {
			left = -1
		}
		if left >= 0 {
			left -= (d - 1) * v.stride[i]
		}
	}
	if left < 0 {
		return fmt.Errorf("tensor of shape %v and stride %v at %d reaches beyond its storage of %d elements", v.shape, v.stride, v.offset, v.storage.numel)
	}
	return nil
}

// elements multiplies dimensions, up to maxElements.
func elements(shape []int64) (int64, error) {
	n := int64(1)
	for _, d := range shape {
		if d > 0 && n > maxElements/d {
			return 0, fmt.Errorf("shape %v has more than the %d elements allowed", shape, int64(maxElements))
		}
		n *= d
	}
	return n, nil
}

func isEmptyDict(v any) bool {
	d, ok := v.(*dict)
	return ok && len(d.keys) == 0
}

// parseStorageID takes a persistent id apart: ('storage', class, key, location, elements). Where the tensor was when it
// was saved does not matter.
func parseStorageID(id any) (dtype DType, key string, numel int64, err error) {
	t, ok := id.(tuple)
	if !ok || len(t) != 5 || t[0] != any("storage") {
		return "", "", 0, errors.New("a persistent id that is no storage's")
	}
	class, isGlobal := t[1].(global)
	dtype, known := storageClass(class)
	key, isText := t[2].(string)
	numel, isInt := t[4].(int64)
	switch {
	case !isGlobal || !known || !isText || !isInt:
		return "", "", 0, errors.New("a storage's id is not made as torch makes it")
	case key == "" || len(key) > 20 || strings.Trim(key, "0123456789") != "":
		return "", "", 0, fmt.Errorf("storage %s: not a key that torch gives", quote(key))
	case numel < 0 || numel > maxElements:
		return "", "", 0, fmt.Errorf("storage %s: %d elements", quote(key), numel)
	}
	return dtype, key, numel, nil
}
