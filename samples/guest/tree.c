/* A binary search tree in the caller's memory: pointers to follow, recursion to nest. */
#include "guest.h"

struct tree_node {
	struct tree_node *left, *right;
	s64 key;
};

/* Links node into the tree; 0, or -EINVAL when its key is there already. */
noinline int tree_insert(struct tree_node **root, struct tree_node *node)
{
	while (*root) {
		if (node->key == (*root)->key)
			return -EINVAL;
		root = node->key < (*root)->key ? &(*root)->left : &(*root)->right;
	}
	node->left = node->right = NULL;
	*root = node;
	return 0;
}

noinline struct tree_node *tree_find(struct tree_node *root, s64 key)
{
	while (root && root->key != key)
		root = key < root->key ? root->left : root->right;
	return root;
}
ALLOW_ERROR_INJECTION(tree_find, NULL);

noinline u32 tree_depth(const struct tree_node *root)
{
	u32 left, right;

	if (!root)
		return 0;
	left = tree_depth(root->left);
	right = tree_depth(root->right);
	return 1 + (left > right ? left : right);
}
