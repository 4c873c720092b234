import torch
import torch.nn as nn
import torch.nn.functional as F

class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super(DQN, self).__init__()
        self.layer1 = nn.Linear(n_observations, 8)
        self.layer2 = nn.Linear(8, 8)
        self.layer3 = nn.Linear(8, n_actions)
    def forward(self, x):
        x = F.relu(self.layer1(x))
        x = F.relu(self.layer2(x))
        return self.layer3(x)

torch.manual_seed(0)
policy_net = DQN(4, 2)
target_net = DQN(4, 2)
target_net.load_state_dict(policy_net.state_dict())
GAMMA = 0.99
BATCH_SIZE = 5
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

def forward(state_batch, action_batch, reward_batch, non_final_mask, non_final_next_states):
    state_action_values = policy_net(state_batch).gather(1, action_batch)
    next_state_values = torch.zeros(BATCH_SIZE, device=device)
    with torch.no_grad():
        next_state_values[non_final_mask] = target_net(non_final_next_states).max(1).values
    expected_state_action_values = (next_state_values * GAMMA) + reward_batch
    criterion = nn.SmoothL1Loss()
    loss = criterion(state_action_values, expected_state_action_values.unsqueeze(1))
    return loss

def inputs():
    return dict(state_batch=torch.randn(5, 4), action_batch=torch.randint(0, 2, (5, 1)), reward_batch=torch.randn(5),
                non_final_mask=torch.tensor([True, False, True, True, False]), non_final_next_states=torch.randn(3, 4))
