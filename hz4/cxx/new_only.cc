// Names nothing of malloc but new and delete.
struct Node {
  Node *next;
  char bytes[2040];
};

Node *volatile kept;

int main() {
  for (int i = 0; i < 10000; i++) kept = new Node{kept, {}};
  for (int i = 0; i < 5000; i++) {
    Node *next = kept->next;
    delete kept;
    kept = next;
  }
  char *volatile large = new char[20 << 20];
  large[0] = 1;
}
