import torch
from torch import nn
import torch.nn.functional as F

class GINConv(nn.Module):
    def __init__(self, emb_dim):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(emb_dim, 2*emb_dim), nn.BatchNorm1d(2*emb_dim), nn.ReLU(), nn.Linear(2*emb_dim, emb_dim))
        self.eps = nn.Parameter(torch.Tensor([0]))
        self.edge_encoder = nn.Linear(3, emb_dim)
    def forward(self, x, edge_index, edge_attr):
        edge_embedding = self.edge_encoder(edge_attr)
        return self.mlp((1 + self.eps) * x + self.propagate(edge_index, x=x, edge_attr=edge_embedding))
    def propagate(self, edge_index, x, edge_attr):
        src, dst = edge_index
        msg = self.message(x[src], edge_attr)
        out = torch.zeros_like(x)
        out.index_add_(0, dst, msg)
        return out
    def message(self, x_j, edge_attr):
        return F.relu(x_j + edge_attr)

def global_mean_pool(x, batch, size=None):
    size = int(batch.max().item() + 1) if size is None else size
    out = x.new_zeros(size, x.size(1)).index_add_(0, batch, x)
    count = torch.bincount(batch, minlength=size).clamp(min=1).to(x.dtype)
    return out / count.unsqueeze(-1)

class GNN(nn.Module):
    def __init__(self, num_tasks=2, num_layer=2, emb_dim=4, drop_ratio=0.0, JK="last", residual=True):
        super().__init__()
        self.num_layer, self.drop_ratio, self.JK, self.residual = num_layer, drop_ratio, JK, residual
        self.atom_encoder = nn.Embedding(5, emb_dim)
        nn.init.xavier_uniform_(self.atom_encoder.weight.data)
        self.convs = torch.nn.ModuleList()
        self.batch_norms = torch.nn.ModuleList()
        for layer in range(num_layer):
            self.convs.append(GINConv(emb_dim))
            self.batch_norms.append(nn.BatchNorm1d(emb_dim))
        self.graph_pred_linear = nn.Linear(emb_dim, num_tasks)
    def forward(self, x, edge_index, edge_attr, batch):
        h_list = [self.atom_encoder(x)]
        for layer in range(self.num_layer):
            h = self.convs[layer](h_list[layer], edge_index, edge_attr)
            h = self.batch_norms[layer](h)
            if layer == self.num_layer - 1:
                h = F.dropout(h, self.drop_ratio, training=self.training)
            else:
                h = F.dropout(F.relu(h), self.drop_ratio, training=self.training)
            if self.residual:
                h = h + h_list[layer]
            h_list.append(h)
        if self.JK == "last":
            node_representation = h_list[-1]
        elif self.JK == "sum":
            node_representation = 0
            for layer in range(self.num_layer + 1):
                node_representation += h_list[layer]
        h_graph = global_mean_pool(node_representation, batch)
        return self.graph_pred_linear(h_graph)

def inputs():
    return dict(x=torch.randint(0, 5, (7,)), edge_index=torch.tensor([[0,1,2,3,4,5,6,1],[1,0,3,2,5,6,4,2]]),
                edge_attr=torch.randn(8, 3), batch=torch.tensor([0,0,0,0,1,1,1]))

def module():
    torch.manual_seed(0)
    return GNN()
